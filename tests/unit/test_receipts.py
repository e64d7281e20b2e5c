"""Receipts: what a client may send, and of what it may speak."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.edge import receipts
from services.edge.receipts import MAX_AGO_MS, MAX_RECEIVED, Receipts, Received, parse_receipts, tell, visible
from services.edge.sessions import Session
from shared.model.entry import Entry
from shared.model.errors import InvalidInput
from tests.harness.moved import moved
from tests.harness.own_edge import own_edge
from tests.harness.spans import recorded_spans

LOG = "ae06c94b73"
SAMPLED, UNSAMPLED = (f"00-{'a' * 32}-{'b' * 16}-0{flag}" for flag in (1, 0))
SESSION = Session("alice", "sid", ("topic:builds", "topic:orders/*"), 0.0, 1, 1)


def an_entry(position: int, *audience: str, traceparent: str | None = SAMPLED) -> Entry:
    return Entry(
        position, None, "/t", str(position), "a.b", None, audience, False, traceparent, None, datetime.now(UTC), b"{}"
    )


def test_what_a_client_tells() -> None:
    document = {
        "connection": "8cr8b3VY1svR",
        "received": [{"cursor": f"{LOG}.7", "ago_ms": 12.5}, {"cursor": f"{LOG}.8"}, {"cursor": "0123456789.9"}],
    }
    assert parse_receipts(document, LOG) == Receipts("8cr8b3VY1svR", [Received(7, 12.5), Received(8, 0.0)])
    assert parse_receipts({"received": []}, LOG) == Receipts(None, [])


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "body"),
        ([], "body"),
        ({}, "received"),
        ({"received": {}}, "received"),
        ({"received": [{"cursor": f"{LOG}.1"}] * (MAX_RECEIVED + 1)}, "received"),
        ({"received": [None]}, "received"),
        ({"received": [{"cursor": 7}]}, "received"),
        ({"received": [{"cursor": "'; --"}]}, "received"),
        ({"received": [{"cursor": f"{LOG}.1", "ago_ms": -1}]}, "received"),
        ({"received": [{"cursor": f"{LOG}.1", "ago_ms": MAX_AGO_MS + 1}]}, "received"),
        ({"received": [{"cursor": f"{LOG}.1", "ago_ms": "1"}]}, "received"),
        ({"received": [{"cursor": f"{LOG}.1", "ago_ms": True}]}, "received"),
        ({"received": [], "connection": "\x1b[2J"}, "connection"),
        ({"received": [], "connection": "x" * 25}, "connection"),
        ({"received": [], "connection": 7}, "connection"),
    ],
)
def test_what_is_no_receipt_is_refused(document: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_receipts(document, LOG)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("audience", "traceparent", "is_visible"),
    [
        (("user:alice",), SAMPLED, True),
        (("user:bob", "user:alice"), SAMPLED, True),
        (("everyone",), SAMPLED, True),
        (("session:sid",), SAMPLED, True),
        (("topic:builds",), SAMPLED, True),
        (("topic:orders/7",), SAMPLED, True),
        (("user:bob",), SAMPLED, False),
        (("topic:order",), SAMPLED, False),
        (("control:alice",), SAMPLED, False),
        ((), SAMPLED, False),
        (("user:alice",), UNSAMPLED, False),
        (("user:alice",), None, False),
    ],
)
def test_of_what_a_session_may_speak(audience: tuple[str, ...], traceparent: str | None, is_visible: bool) -> None:
    with recorded_spans():
        found = visible([an_entry(1, *audience, traceparent=traceparent)], SESSION)
    assert bool(found) is is_visible


def test_without_tracing_nothing_is_told() -> None:
    assert visible([an_entry(1, "user:alice")], SESSION) == {}


async def test_a_receipt_is_a_span_at_the_time_of_the_receipt() -> None:
    entries = {7: an_entry(7, "user:alice"), 8: an_entry(8, "user:alice")}
    sent = Receipts("c1", [Received(7, 5000), Received(7, 5000), Received(9, 0)])
    with recorded_spans() as spans:
        async with moved(receipts=1):
            assert tell(sent, entries, "alice") == 1
    (span,) = spans.get_finished_spans()
    assert span.start_time == span.end_time
    assert 4.9 < time.time() - (span.start_time or 0) / 1e9 < 65


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 5000, 400),
        (json.dumps({"received": [], "x": "y" * 20_000}).encode(), 413),
        (b'{"received": []}', 202),
    ],
)
async def test_what_the_route_answers(body: bytes, status: int) -> None:
    async with own_edge() as own:
        answer = await own.app.test_client().post("/v1/receipts", data=body, headers=own.bearer())
        assert answer.status_code == status


async def test_nobody_and_foreign_pages_tell_nothing() -> None:
    async with own_edge() as own:
        client = own.app.test_client()
        assert (await client.post("/v1/receipts", json={"received": []})).status_code == 401
        foreign = own.bearer() | {"Origin": "https://elsewhere.example"}
        assert (await client.post("/v1/receipts", json={"received": []}, headers=foreign)).status_code == 403


async def test_who_sends_receipts_too_often_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "RECEIPTS_PER_USER_PER_S", 0.1)
    async with own_edge() as own:
        client = own.app.test_client()
        answers = [await client.post("/v1/receipts", json={"received": []}, headers=own.bearer()) for _ in range(3)]
        other = await client.post("/v1/receipts", json={"received": []}, headers=own.bearer("bob"))
    assert [answer.status_code for answer in answers] == [202, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert other.status_code == 202


def test_an_entry_of_another_session_is_not_visible_by_its_sid() -> None:
    with recorded_spans():
        assert visible([an_entry(1, "session:sid")], replace(SESSION, sid="other")) == {}
