"""CloudEvents over HTTP, as tables: what is accepted becomes exactly this, what is not is refused by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from services.ingest.http_binding import (
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    InvalidBatched,
    MediaType,
    batch_of,
    body_limit,
    event_of,
    mode_of,
)
from shared.model.errors import EventTooLarge, InvalidEvent
from shared.model.event import Event
from shared.web.problem import Refusal

REQUIRED = [("Ce-Specversion", "1.0"), ("Ce-Id", "1"), ("Ce-Source", "/shop"), ("Ce-Type", "order.created")]
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}


def received(content_type: str | None, headers: list[tuple[str, str]], body: bytes, max_bytes: int = 10_000) -> Event:
    media_type = MediaType.parse(content_type)
    return event_of(mode_of(media_type, headers), media_type, headers, body, max_bytes)


def shown(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(event.to_json())
    return shown


def wire(text: str) -> str:
    """UTF-8 bytes as ASGI hands them on."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON",
        "application/cloudevents+json; charset=utf-8",
        'application/cloudevents+json;charset="UTF-8"',
    ],
)
def test_structured(content_type: str) -> None:
    sent = ATTRIBUTES | {"data": {"ü": [1, 2.5, None]}, "audience": "user:alice"}
    assert shown(received(content_type, [], json.dumps(sent).encode())) == sent


def test_structured_ignores_ce_headers() -> None:
    event = received("application/cloudevents+json", [("ce-id", "other")], json.dumps(ATTRIBUTES).encode())
    assert event.id == "1"


@pytest.mark.parametrize(
    ("content_type", "body", "content"),
    [
        (None, b"", {}),
        ("application/json", b"", {"datacontenttype": "application/json"}),
        ("application/json", b'{"a": [1]}', {"datacontenttype": "application/json", "data": {"a": [1]}}),
        ("application/json", b"null", {"datacontenttype": "application/json", "data": None}),
        ("text/json; charset=utf-8", b'"x"', {"datacontenttype": "text/json; charset=utf-8", "data": "x"}),
        ("application/problem+json", b"1", {"datacontenttype": "application/problem+json", "data": 1}),
        ("text/plain", "grüße".encode(), {"datacontenttype": "text/plain", "data": "grüße"}),
        ("application/xml", b"<a/>", {"datacontenttype": "application/xml", "data": "<a/>"}),
        ("application/soap+xml", b"<a/>", {"datacontenttype": "application/soap+xml", "data": "<a/>"}),
        ("text/plain", b"\xff", {"datacontenttype": "text/plain", "data_base64": "/w=="}),
        (
            "text/plain; charset=latin-1",
            b"\xfc",
            {"datacontenttype": "text/plain; charset=latin-1", "data_base64": "/A=="},
        ),
        ("image/png", b"\x89PNG", {"datacontenttype": "image/png", "data_base64": "iVBORw=="}),
        (None, b"abc", {"data_base64": "YWJj"}),
        (None, b'{"a": 1}', {"data": {"a": 1}}),
    ],
)
def test_binary_content(content_type: str | None, body: bytes, content: dict[str, Any]) -> None:
    assert shown(received(content_type, REQUIRED, body)) == ATTRIBUTES | content


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("plain", "plain"),
        ("  padded\t", "padded"),
        ("a%20b", "a b"),
        ("%C3%BC", "ü"),
        ("%c3%bc", "ü"),
        (wire("ü"), "ü"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("100%2525", "100%25"),  # decoded once, not twice
        ("100%", "100%"),
        ("50%zz", "50%zz"),
        ('"quoted value"', "quoted value"),
        (r'"with \"inner\" and \\"', 'with "inner" and \\'),
        ('"a%20b"', "a b"),
        ("%22kept%22", '"kept"'),
        ('say "hi"', 'say "hi"'),
    ],
)
def test_header_values(value: str, meant: str) -> None:
    assert received(None, [*REQUIRED, ("ce-subject", value)], b"").subject == meant


def test_extensions_come_from_headers_of_any_case() -> None:
    headers = [*REQUIRED, ("CE-Audience", "user:alice topic:a%2Fb"), ("ce-custom", "7"), ("X-Other", "no")]
    assert shown(received(None, headers, b"")) == ATTRIBUTES | {"audience": "user:alice topic:a/b", "custom": "7"}


@pytest.mark.parametrize(
    ("content_type", "headers", "fragment"),
    [
        (None, [], "no content type, and no ce-* header"),
        ("application/json", [], "application/json, and no ce-* header"),
        ("application/x-www-form-urlencoded", [("X-Ce-Id", "1")], "no ce-* header"),
        ("application/cloudevents-batch+json; charset=latin-1", REQUIRED, "another encoding"),
        ("application/cloudevents-batch", REQUIRED, "not known here"),
        ("application/cloudevents+avro", REQUIRED, "application/cloudevents+avro"),
        ("application/cloudevents", REQUIRED, "not known here"),
        ("application/cloudevents+json; charset=utf-16", [], "another encoding"),
    ],
)
def test_unsupported_media_types(content_type: str | None, headers: list[tuple[str, str]], fragment: str) -> None:
    with pytest.raises(Refusal, match=fragment.replace("*", r"\*").replace("+", r"\+")) as refused:
        received(content_type, headers, b"{}")
    assert (refused.value.status, refused.value.field) == (415, "Content-Type")
    assert refused.value.fix


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        (REQUIRED[1:], "specversion"),
        (REQUIRED[:-1], "type"),
        ([*REQUIRED, ("ce-id", "2")], "ce-id"),
        ([*REQUIRED, ("ce-datacontenttype", "text/plain")], "ce-datacontenttype"),
        ([*REQUIRED, ("ce-data", "x")], "ce-data"),
        ([*REQUIRED, ("ce-data_base64", "eA==")], "ce-data_base64"),
        ([*REQUIRED, ("ce-subject", "%FF")], "ce-subject"),
        ([*REQUIRED, ("ce-subject", "\xff")], "ce-subject"),
        ([*REQUIRED, ("ce-subject", "%ED%A0%80")], "ce-subject"),
        ([*REQUIRED, ("ce-subject", "")], "subject"),
        ([*REQUIRED, ("ce-subject", "a%0D%0Aid: 9")], "subject"),
        ([*REQUIRED, ("ce-audience", "nobody")], "audience"),
        ([*REQUIRED, ("ce-traceparent", "00-0-0-00")], "traceparent"),
        ([*REQUIRED, ("ce-some-thing", "x")], "event"),
        ([("ce-specversion", "0.3"), *REQUIRED[1:]], "specversion"),
    ],
)
def test_bad_headers_are_refused_by_name(headers: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        received(None, headers, b"")
    assert refused.value.field == field


@pytest.mark.parametrize("body", [b"{", b"\xff", b'"\\ud800"', b"NaN", b"1e999"])
def test_bad_json_is_refused_in_both_modes(body: bytes) -> None:
    for content_type, headers in (("application/json", REQUIRED), ("application/cloudevents+json", [])):
        with pytest.raises(InvalidEvent) as refused:
            received(content_type, headers, body)
        assert refused.value.field == "body"


def test_a_structured_event_over_the_limit() -> None:
    body = json.dumps(ATTRIBUTES | {"data": "x" * 200}).encode()
    with pytest.raises(EventTooLarge):
        received("application/cloudevents+json", [], body, max_bytes=len(body) - 1)


def test_bytes_survive() -> None:
    body = bytes(range(256))
    event = received("application/octet-stream", REQUIRED, body)
    assert base64.b64decode(event.data_base64 or "") == body


# Batches.


def test_a_batch_keeps_its_order_and_what_is_wrong_keeps_its_place() -> None:
    sent = [ATTRIBUTES, {"id": "2"}, 7, ATTRIBUTES | {"id": "3", "data": {"a": 1}}, ATTRIBUTES | {"id": ["x"]}]
    found = batch_of(json.dumps(sent).encode())
    events = [one for one in found if isinstance(one, Event)]
    assert [(event.id, event.data) for event in events] == [("1", None), ("3", {"a": 1})]
    wrong = [
        (at, one.source, one.id, one.error.field) for at, one in enumerate(found) if isinstance(one, InvalidBatched)
    ]
    assert wrong == [(1, None, "2", "specversion"), (2, None, None, "event"), (4, "/shop", None, "id")]


def test_an_empty_batch_is_one() -> None:
    assert batch_of(b"[]") == []


@pytest.mark.parametrize("body", [b"{}", b"", b"[", b"null", json.dumps(ATTRIBUTES).encode(), b"[NaN]", b"[1e999]"])
def test_what_is_no_batch(body: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        batch_of(body)
    assert refused.value.field == "body"


def test_a_batch_is_bounded() -> None:
    assert len(batch_of(json.dumps([0] * MAX_BATCH_EVENTS).encode())) == MAX_BATCH_EVENTS
    with pytest.raises(EventTooLarge, match=str(MAX_BATCH_EVENTS)):
        batch_of(json.dumps([0] * (MAX_BATCH_EVENTS + 1)).encode())


@pytest.mark.parametrize(
    ("content_type", "limit"),
    [
        ("application/cloudevents-batch+json", MAX_BATCH_BYTES),
        ("application/CloudEvents-Batch+JSON; charset=utf-8", MAX_BATCH_BYTES),
        ("application/cloudevents+json", 1000),
        ("text/plain", 1000),
        (None, 1000),
    ],
)
def test_how_long_a_body_may_be(content_type: str | None, limit: int) -> None:
    assert body_limit(MediaType.parse(content_type), 1000) == limit
    assert body_limit(MediaType.parse("application/cloudevents-batch+json"), 2 * MAX_BATCH_BYTES) == 2 * MAX_BATCH_BYTES
