"""Which repeats of an event are the same event: a table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.ingest.http_binding import MediaType, event_of, mode_of
from services.persister.batch import entry_of
from shared.model.content import Content
from shared.model.entry import EXPIRED, expired
from shared.model.errors import IdentityConflict
from shared.model.event import Event

PLAIN: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shop",
    "type": "order.created",
    "subject": "order/7",
    "audience": "user:alice topic:orders",
    "datacontenttype": "application/json",
    "data": {"total": 12.5, "items": [{"a": 1, "b": "ü"}]},
    "custom": "7",
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def content(**attributes: Any) -> Content:
    given = {name: value for name, value in (PLAIN | attributes).items() if value is not ...}
    return Content.of(Event.from_attributes(given))


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"traceparent": TRACE, "tracestate": "a=b"},
        {"time": "2026-01-31T12:00:00Z"},
        {"data": {"items": [{"b": "ü", "a": 1}], "total": 12.50}},
        {"custom": 7},
        {"datacontenttype": ...},
        {"datacontenttype": 'Application/JSON; charset="UTF-8"'},
        {"audience": "topic:orders user:alice"},
        {"audience": "user:alice"},
        {"audience": ...},
    ],
)
def test_the_same(same: dict[str, Any]) -> None:
    content().check_repeat(content(**same))


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"data": {"total": 12.6, "items": [{"a": 1, "b": "ü"}]}}, "id"),
        ({"data": {"total": 12.5, "items": [{"a": 1, "b": "u"}]}}, "id"),
        ({"data": None}, "id"),
        ({"data": ...}, "id"),
        ({"data": "12.5"}, "id"),
        ({"type": "order.paid"}, "id"),
        ({"subject": "order/8"}, "id"),
        ({"subject": ...}, "id"),
        ({"custom": "8"}, "id"),
        ({"custom": ...}, "id"),
        ({"final": "true"}, "id"),
        ({"datacontenttype": "text/json"}, "id"),
        ({"datacontenttype": "application/json; charset=latin-1"}, "id"),
        ({"audience": "user:alice user:bob"}, "audience"),
        ({"audience": "everyone"}, "audience"),
    ],
)
def test_another(other: dict[str, Any], field: str) -> None:
    with pytest.raises(IdentityConflict) as conflict:
        content().check_repeat(content(**other))
    assert conflict.value.field == field


def test_both_digests_are_told() -> None:
    stored, sent = content(), content(data=1)
    with pytest.raises(IdentityConflict) as conflict:
        stored.check_repeat(sent)
    for digest in (stored.digest, sent.digest):
        assert digest is not None
        assert len(digest) == 64
        assert digest in conflict.value.problem


def test_the_mode_that_carried_it_does_not_count() -> None:
    attributes = {name: value for name, value in PLAIN.items() if name not in ("data", "datacontenttype")}
    headers = [(f"ce-{name}", str(value)) for name, value in (attributes | {"final": "true"}).items()]
    media_type = MediaType.parse("application/json")
    body = json.dumps(PLAIN["data"], indent=2).encode()
    binary = event_of(mode_of(media_type, headers), media_type, headers, body, 10_000)
    structured = Event.from_attributes(PLAIN | {"final": True})
    assert Content.of(binary) == Content.of(structured)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"data": ...},
        {"data": {"big": 10**400, "float": 1e300, "none": None, "lone": "\U0001f600"}},
        {"data": ..., "data_base64": "/w=="},
        {"final": True, "expectedversion": 3},
        {"time": "2026-01-31T12:00:00Z", "traceparent": TRACE},
    ],
)
def test_what_the_log_holds_compares_equal_to_what_was_sent(shape: dict[str, Any]) -> None:
    event = Event.from_attributes({name: value for name, value in (PLAIN | shape).items() if value is not ...})
    assert Content.of_entry(entry_of(event, 1, 1, datetime.now(UTC))) == Content.of(event)


def test_what_retention_emptied_is_repeated_by_whatever_has_its_identity() -> None:
    event = Event.from_attributes(PLAIN)
    Content.of_entry(expired(entry_of(event, 1, 1, datetime.now(UTC)))).check_repeat(content(data="other"))


def test_who_says_that_it_has_expired_is_compared_all_the_same() -> None:
    """Whoever sent the mark first had every other event of that identity dropped as a repeat."""
    event = Event.from_attributes(PLAIN | {EXPIRED: "true"})
    with pytest.raises(IdentityConflict):
        Content.of_entry(entry_of(event, 1, 1, datetime.now(UTC))).check_repeat(content())
