"""What single requests to an edge must not be able to do, whatever is in them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.edge import inbox, origins
from tests.eventually import eventually
from tests.harness.asgi import ask
from tests.harness.own_edge import OPERATOR_KEY, OwnEdge, own_edge, served

PER_USER = 2
WITHIN_S = 20.0
OPERATOR = [(b"authorization", b"Bearer " + OPERATOR_KEY.encode())]


@pytest.fixture
async def own() -> AsyncIterator[OwnEdge]:
    async with own_edge(connections_per_user=PER_USER, cors_origins=["https://app.example.com"]) as ready:
        yield ready


def headers_of(own: OwnEdge, **claims: Any) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in own.bearer(**claims).items()]


class Text:
    """What one stream has brought so far."""

    def __init__(self) -> None:
        self.bytes = b""

    async def has(self, text: bytes) -> None:
        await eventually(lambda: text in self.bytes, WITHIN_S)

    @property
    def cursor(self) -> str:
        return re.findall(rb"^id: (.*)$", self.bytes, re.MULTILINE)[-1].decode()

    async def take(self, response: httpx.Response) -> None:
        async for chunk in response.aiter_raw():
            self.bytes += chunk


@asynccontextmanager
async def reading(port: int, headers: dict[str, str], query: str = "") -> AsyncIterator[Text]:
    text = Text()
    async with (
        httpx.AsyncClient(trust_env=False, timeout=WITHIN_S) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/v1/events{query}", headers=headers) as response,
    ):
        assert response.status_code == 200
        taking = asyncio.create_task(text.take(response))
        try:
            await text.has(b"event: connected")
            yield text
        finally:
            taking.cancel()
            await asyncio.wait([taking])


# Parameters.


@pytest.mark.parametrize(
    ("path", "headers"),
    [(b"/v1/connections", OPERATOR), (b"/v1/inbox", None), (b"/v1/streams", None)],
)
@pytest.mark.parametrize("limit", [b"0000000010000000", b"000000001" + b"0" * 5000, b"", b"-1", b"\xd9\xa1"])
async def test_limits_hold_however_a_number_is_written(own: OwnEdge, path: bytes, headers: Any, limit: bytes) -> None:
    """Nine digits were looked at, and all of them used: a page of a million, and a 500 for thousands of digits."""
    asked = await ask(own.app, "GET", path + b"?limit=" + limit, headers or headers_of(own))
    assert (asked.status, asked.problem["field"]) == (400, "limit")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", b"/v1/connections?usr=alice"),
        ("DELETE", b"/v1/connections?user=alice&sesion=one"),
        ("DELETE", b"/v1/session?everwhere=1"),
    ],
)
async def test_a_misspelt_parameter_does_not_do_more_than_was_asked_for(
    own: OwnEdge, method: str, target: bytes
) -> None:
    asked = await ask(own.app, method, target, OPERATOR)
    assert asked.status == 400
    assert asked.problem["detail"] == "there is no such parameter"


# Other sites.


@pytest.mark.parametrize("origin", [b"http://[", b"//", b"http://[::1", b"https://\xff", b"http://a]b"])
async def test_an_origin_that_is_none_is_a_foreign_one(own: OwnEdge, origin: bytes) -> None:
    """It was no address that could be taken apart, and so a 500."""
    asked = await ask(own.app, "POST", b"/v1/tickets", [*headers_of(own), (b"origin", origin)])
    assert (asked.status, asked.problem["field"]) == (403, "Origin")


async def test_pages_of_other_sites_may_use_every_method_that_there_is(own: OwnEdge) -> None:
    """Topics were followed by PUT, and no preflight allowed that."""
    allowed = set(origins.ALLOWED_METHODS.split(", ")) | {"HEAD"}
    rules = [rule for rule in own.app.url_map.iter_rules() if rule.methods is not None]
    assert {method for rule in rules for method in rule.methods or ()} <= allowed
    headers = [(b"origin", b"https://app.example.com"), (b"access-control-request-method", b"PUT")]
    preflight = await ask(own.app, "OPTIONS", b"/v1/subscriptions/builds", headers)
    assert "PUT" in preflight.headers["access-control-allow-methods"]


# Who may have what.


async def test_a_request_that_is_refused_costs_nobody_a_stream(own: OwnEdge) -> None:
    """With all places taken, a cookie that was signed out closed the user's oldest stream at each try, for good."""
    async with served(own) as port:
        signed_out = await signed_out_cookie(own)
        async with reading(port, own.bearer()) as first, reading(port, own.bearer()) as second:
            for _ in range(PER_USER + 1):
                asked = await ask(own.app, "GET", b"/v1/events", [(b"cookie", signed_out)])
                assert asked.status == 401
            await own.publish(type="order.paid")
            for stream in (first, second):
                await stream.has(b"event: order.paid")
                assert b"newer-connection" not in stream.bytes


async def signed_out_cookie(own: OwnEdge) -> bytes:
    opened = await ask(own.app, "POST", b"/v1/session", headers_of(own))
    cookie = opened.headers["set-cookie"].partition(";")[0].encode()
    assert (await ask(own.app, "DELETE", b"/v1/session", [(b"cookie", cookie)])).status == 204
    return cookie


async def test_what_is_stored_of_a_ticket_is_no_cookie(own: OwnEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever could read the store of tickets had the sessions of all who had asked for one."""
    kept: list[str] = []
    keep = own.edge.store.keep_ticket

    async def note(digest: str, content: str, ttl_s: float) -> None:
        kept.append(content)
        await keep(digest, content, ttl_s)

    monkeypatch.setattr(own.edge.store, "keep_ticket", note)
    ticket = json.loads((await ask(own.app, "POST", b"/v1/tickets", headers_of(own))).body)["ticket"]
    assert ticket not in kept[0]
    asked = await ask(own.app, "GET", b"/v1/session", [(b"cookie", b"carillon=" + kept[0].encode())])
    assert asked.status == 401
    assert (await ask(own.app, "GET", b"/v1/events?ticket=" + ticket.encode())).is_stream


# What a stream tells.


async def test_a_stream_that_comes_back_is_told_of_marks_that_it_missed(own: OwnEdge) -> None:
    """Its bell went on to show what another device had read in the meantime."""
    await own.publish(type="notification.sent", data={"title": "news"})
    async with served(own) as port:
        async with reading(port, own.bearer(), "?last-event-id=earliest") as before:
            await before.has(b"event: notification.sent")
        read = json.dumps({"through": before.cursor}).encode()
        assert (await ask(own.app, "POST", b"/v1/inbox/read", headers_of(own), read)).status == 200
        async with reading(port, own.bearer(), f"?last-event-id={before.cursor}") as after:
            await after.has(b'"counts":{"unread":0,"unseen":0')


async def test_topics_that_are_followed_at_once_are_all_followed(own: OwnEdge) -> None:
    topics = [f"builds/{number}" for number in range(5)]
    async with served(own) as port, reading(port, own.bearer(tags=["topic:builds/*"])) as stream:
        headers = headers_of(own, tags=["topic:builds/*"])
        for topic in topics:
            assert (await ask(own.app, "PUT", f"/v1/subscriptions/{topic}".encode(), headers)).status == 200
            await own.publish(f"topic:{topic}", type="build.done", data={"topic": topic})
        for topic in topics:
            await stream.has(f'"topic":"{topic}"'.encode())
        assert stream.bytes.count(b"event: build.done") == len(topics)


async def test_one_topic_more_than_are_read_is_refused(own: OwnEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken, and nobody ever saw what came of it."""
    monkeypatch.setattr(inbox, "MAX_TOPICS", 2)
    headers = headers_of(own, tags=["topic:builds/*"])

    async def put(topic: str, what: str = "") -> int:
        return (await ask(own.app, "PUT", f"/v1/subscriptions/builds/{topic}{what}".encode(), headers)).status

    assert [await put("1"), await put("2", "/mute"), await put("3"), await put("3", "/mute")] == [200, 200, 400, 400]
    assert [await put("1", "/mute"), await put("2")] == [200, 200], "those that there are"
    left = await ask(own.app, "DELETE", b"/v1/subscriptions/builds/1", headers)
    assert (left.status, await put("3")) == (200, 400), "it is muted still"
    await ask(own.app, "DELETE", b"/v1/subscriptions/builds/1/mute", headers)
    assert await put("3") == 200
