"""The event at its boundary: what is kept as it came, and what each refusal names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.model.cursor import Cursor, new_log_id
from shared.model.errors import EventTooLarge, InvalidCursor, InvalidEvent
from shared.model.event import NOT_SHOWN, Event

LEAST: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "order.created"}
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def parse(**attributes: Any) -> Event:
    return Event.from_json(json.dumps(LEAST | attributes).encode())


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"data": None},
        {"data": {"nested": [1, 2.5, -0.0, 1e300, 123456789012345678901234567890, True, None, "é🔔\u2028\u0000"]}},
        {"data": "text"},
        {"data_base64": "AAEC"},
        {"subject": "job/1", "time": "2026-01-31T12:00:00.123456789+01:00", "datacontenttype": "application/json"},
        {"audience": "user:alice topic:builds/main everyone", "traceparent": TRACE, "tracestate": "a=b"},
        {"baggage": "userId=alice"},
        {"final": "true"},
        {"final": False},
        {"subject": "job/1", "expectedversion": "3"},
        {"subject": "job/1", "expectedversion": 0},
        {"comexampleext": "x", "ext2": 5, "ext3": True},
    ],
)
def test_what_goes_in_comes_out_equal(attributes: dict[str, Any]) -> None:
    event = parse(**attributes)
    assert json.loads(event.to_json()) == LEAST | attributes
    shown = {name: value for name, value in (LEAST | attributes).items() if name not in NOT_SHOWN}
    assert json.loads(event.public_json()) == shown


def test_a_stream_shows_neither_who_else_receives_it_nor_what_tracing_systems_tell_each_other() -> None:
    event = parse(audience="user:alice", traceparent=TRACE, tracestate="a=b", baggage="userId=alice")
    assert json.loads(event.public_json()) == LEAST | {"traceparent": TRACE}


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_required_attributes(name: str) -> None:
    attributes = {key: value for key, value in LEAST.items() if key != name}
    with pytest.raises(InvalidEvent, match=name) as refused:
        Event.from_attributes(attributes)
    assert refused.value.field == name


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": 1}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "a\x00b"}, "id"),
        ({"id": "é" * 128}, "id"),
        ({"type": "a\rb"}, "type"),
        ({"type": "reset"}, "type"),
        ({"type": "message"}, "type"),
        ({"source": "x" * 2049}, "source"),
        ({"specversion": "0.3"}, "specversion"),
        ({"subject": ""}, "subject"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-13-01T00:00:00Z"}, "time"),
        ({"time": "2026-01-01T00:00:00.٣Z"}, "time"),
        ({"time": "2026-01-01T00:00:00"}, "time"),
        ({"audience": "bob"}, "audience"),
        ({"audience": "user:"}, "audience"),
        ({"audience": "user:a  user:b"}, "audience"),
        ({"audience": "user:a\tuser:b"}, "audience"),
        ({"audience": "role:admin"}, "audience"),
        ({"audience": "user:\ud800"}, "audience"),
        ({"audience": f"user:{'x' * 200}"}, "audience"),
        ({"audience": ["user:a"]}, "audience"),
        ({"audience": " ".join(f"user:{number}" for number in range(2001))}, "audience"),
        ({"traceparent": "00-0-0-01"}, "traceparent"),
        ({"traceparent": f"00-{'0' * 32}-{'b' * 16}-01"}, "traceparent"),
        ({"final": "yes"}, "final"),
        ({"subject": "s", "expectedversion": "-1"}, "expectedversion"),
        ({"data": 1, "data_base64": "AA=="}, "event"),
        ({"data_base64": "not base64!"}, "data_base64"),
        ({"expectedversion": 1}, "event"),
        ({"Upper": "x"}, "event"),
        ({"ext": {"a": 1}}, "event"),
        ({"ext": "a\x00b"}, "event"),
    ],
)
def test_refusals_name_the_attribute_and_the_fix(attributes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        Event.from_attributes(LEAST | attributes)
    assert refused.value.field == field
    assert refused.value.fix


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"data":NaN}', b'{"data":Infinity}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":1e999}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":[[{"a":-1E+0400}]]}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":"\\ud800"}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        Event.from_json(body)


def test_the_size_limit() -> None:
    body = json.dumps(LEAST | {"data": "x" * 1000}).encode()
    assert Event.from_json(body, max_bytes=len(body))
    with pytest.raises(EventTooLarge, match=str(len(body) - 1)):
        Event.from_json(body, max_bytes=len(body) - 1)


def test_tags_are_distinct_and_in_order() -> None:
    assert parse(audience="user:b user:a user:b").tags == ("user:b", "user:a")
    assert parse().tags == ()


@pytest.mark.parametrize(("final", "expected"), [("true", True), (True, True), ("false", False), (False, False)])
def test_final(final: str | bool, expected: bool) -> None:
    assert parse(final=final).is_final is expected


def test_cursors() -> None:
    cursor = Cursor(new_log_id(), 42)
    assert Cursor.parse(str(cursor)) == cursor
    for text in ("", "x", "x.", ".1", "x.01", "x.1 ", "X.1", "x.1\n", "x.99999999999999999999"):
        with pytest.raises(InvalidCursor):
            Cursor.parse(text)
