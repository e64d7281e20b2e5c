"""What a verified request becomes: its names, its body, the headers that are kept, whom it is for."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from services.ingest.http_binding import MediaType
from services.ingest.webhooks.declarations import KINDS
from services.ingest.webhooks.posted import Posted
from services.ingest.webhooks.source import Source
from shared.model.errors import InvalidEvent
from shared.web.problem import Refusal

STANDARD_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GITHUB = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "72d3162e-cc78"}
STRIPE = {"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1680064028, "livemode": True}


def source_of(kind: str, **declared: Any) -> Source:
    secret = {} if kind == "none" else {"secret": {"env": "X"}}
    read = (STANDARD_SECRET,) if kind == "standard-webhooks" else (b"s",) * len(secret)
    return KINDS[kind].model_validate({"kind": kind, **secret, **declared}).source("here", read)


def event_of(
    source: Source, body: Any, headers: dict[str, str] | None = None, content_type: str | None = "application/json"
) -> dict[str, Any] | None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    media_type = MediaType.parse(content_type)
    source.check_media_type(media_type)
    event = source.event(Posted.of((headers or {}).items(), content), media_type)
    return None if event is None else json.loads(event.to_json())


def shown(source: Source, body: Any, *given: Any, **options: Any) -> dict[str, Any]:
    event = event_of(source, body, *given, **options)
    assert event is not None
    return event


def test_github() -> None:
    body = {"action": "opened", "issue": {"number": 1, "title": "grüße"}}
    headers = GITHUB | {"X-GitHub-Hook-ID": "292430182", "User-Agent": "GitHub-Hookshot/044aadd", "Authorization": "no"}
    assert shown(source_of("github"), body, headers) == {
        "specversion": "1.0",
        "id": "72d3162e-cc78",
        "source": "/webhooks/here",
        "type": "github.issues.opened",
        "datacontenttype": "application/json",
        "data": body,
        "httpxgithubevent": "issues",
        "httpxgithubdelivery": "72d3162e-cc78",
        "httpxgithubhookid": "292430182",
    }


@pytest.mark.parametrize(
    ("event", "body", "type_"),
    [
        ("push", {}, "github.push"),
        ("push", {"action": None}, "github.push"),
        ("push", {"action": {"a": 1}}, "github.push"),
        ("push", {"action": ""}, "github.push"),
        ("pull_request", {"action": "review_requested"}, "github.pull_request.review_requested"),
        ("repository_dispatch", {"action": "my own/action!"}, "github.repository_dispatch.my.own.action"),
        ("a..b", {}, "github.a.b"),
    ],
)
def test_types_of_github(event: str, body: dict[str, Any], type_: str) -> None:
    assert shown(source_of("github"), body, GITHUB | {"X-GitHub-Event": event})["type"] == type_


def test_github_sends_forms_unless_it_is_told_otherwise() -> None:
    body = {"action": "opened", "issue": {"title": "a & b = ü"}}
    form = urlencode({"payload": json.dumps(body)}).encode()
    event = shown(source_of("github"), form, GITHUB, content_type="application/x-www-form-urlencoded")
    assert (event["type"], event["data"]) == ("github.issues.opened", body)
    assert event["datacontenttype"] == "application/json"


@pytest.mark.parametrize("form", [b"", b"payload", b"a=b", b"payload=%FF", b"payload=%7B", b"\xff", b"a=b&" * 20])
def test_a_form_without_a_payload(form: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        event_of(source_of("github"), form, GITHUB, "application/x-www-form-urlencoded")
    assert refused.value.field == "body"


def test_a_ping_is_an_event_for_nobody() -> None:
    source = source_of("github", audience="everyone")
    assert "audience" not in shown(source, {"zen": "Design for failure."}, GITHUB | {"X-GitHub-Event": "ping"})
    assert shown(source, {}, GITHUB)["audience"] == "everyone"


def test_stripe() -> None:
    assert shown(source_of("stripe"), STRIPE, {"Stripe-Signature": "t=1"}) == {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "/webhooks/here",
        "type": "stripe.invoice.paid",
        "time": "2023-03-29T04:27:08Z",
        "datacontenttype": "application/json",
        "data": STRIPE,
    }


@pytest.mark.parametrize(
    ("created", "time"),
    [
        ("2024-09-17T06:20:52.246Z", "2024-09-17T06:20:52.246000Z"),
        ("2024-09-17T08:20:52+02:00", "2024-09-17T06:20:52Z"),
        ("2024-09-17", None),
        ("yesterday", None),
        (None, None),
        (True, None),
        (1.5, None),
        (10**30, None),
        (-(10**30), None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_times_that_are_none_are_left_out(created: Any, time: str | None) -> None:
    assert shown(source_of("stripe"), STRIPE | {"created": created}).get("time") == time


def test_test_events_of_stripe_are_kept_unless_they_are_declared_to_be_dropped() -> None:
    test = STRIPE | {"livemode": False}
    assert shown(source_of("stripe"), test)["data"]["livemode"] is False
    assert event_of(source_of("stripe", test_events="drop"), test) is None
    assert event_of(source_of("stripe", test_events="drop"), STRIPE) is not None
    assert event_of(source_of("stripe", test_events="drop"), {"id": "evt_1", "type": "a"}) is not None


@pytest.mark.parametrize(
    ("body", "type_", "time"),
    [
        (
            {"type": "user.created", "timestamp": "2022-11-03T20:26:10.344522Z", "data": {}},
            "here.user.created",
            "2022-11-03T20:26:10.344522Z",
        ),
        ({"type": 5}, "here.received", None),
        ({"type": "///"}, "here.received", None),
        ({}, "here.received", None),
        ([1], "here.received", None),
    ],
)
def test_standard_webhooks(body: Any, type_: str, time: str | None) -> None:
    event = shown(source_of("standard-webhooks"), body, {"webhook-id": "msg_1", "webhook-timestamp": "5"})
    assert (event["id"], event["type"], event.get("time"), event["data"]) == ("msg_1", type_, time, body)
    # The time of the try differs from one to the next.
    assert {name for name in event if name.startswith("http")} == {"httpwebhookid"}


def test_standard_webhooks_that_are_no_json() -> None:
    event = shown(source_of("standard-webhooks"), b"<a/>", {"webhook-id": "msg_1"}, content_type="application/xml")
    assert (event["type"], event["data"]) == ("here.received", "<a/>")


def test_a_type_without_prefix_is_declared() -> None:
    source = source_of("standard-webhooks", type_prefix="")
    assert shown(source, {"type": "order.created"}, {"webhook-id": "1"})["type"] == "order.created"


@pytest.mark.parametrize("type_", ["carillon.session.revoked", "Carillon.x", "connected"])
def test_types_of_ours_are_nobody_elses(type_: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        event_of(source_of("standard-webhooks", type_prefix=""), {"type": type_}, {"webhook-id": "1"})
    assert refused.value.field == "type"


DECLARED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "build"}, {"type": "here.build"}),
    ({"type": {"header": "X-Topic"}}, {"type": "here.orders.create"}),
    ({"type": {"field": "event.name"}}, {"type": "here.done"}),
    ({"type": {"field": "event.name"}, "type_prefix": "ci"}, {"type": "ci.done"}),
    ({"id": {"header": "X-Id"}}, {"id": "77"}),
    ({"id": {"field": "event.id"}}, {"id": "7"}),
    ({"subject": {"field": "event.job"}}, {"subject": "job/1"}),
    ({"audience": "user:alice topic:builds"}, {"audience": "user:alice topic:builds"}),
    ({"headers": ["X-Id", "X-Missing", "Audience"]}, {"httpxid": "77", "httpaudience": "everyone"}),
]
BODY = {"event": {"id": 7, "name": "done", "job": "job/1"}}


@pytest.mark.parametrize(("declared", "expected"), DECLARED)
def test_what_is_declared(declared: dict[str, Any], expected: dict[str, Any]) -> None:
    headers = {"X-Topic": "orders/create", "X-Id": "77", "Audience": "everyone", "Type": "other", "Ce-Type": "other"}
    event = shown(source_of("none", **declared), BODY, headers)
    assert {name: event.get(name) for name in expected} == expected
    assert event["data"] == BODY
    assert "audience" not in event or "audience" in declared


def test_headers_are_text_whatever_their_bytes() -> None:
    source = source_of("none", headers=["A", "B"])
    event = shown(source, {}, {"A": "grüße".encode().decode("latin-1"), "B": "\xff"})
    assert (event["httpa"], event["httpb"]) == ("grüße", "\xff")


def test_without_an_id_each_request_is_an_event_of_its_own() -> None:
    source = source_of("none")
    assert shown(source, {"same": 1})["id"] != shown(source, {"same": 1})["id"]


def test_a_digest_makes_what_was_signed_one_event() -> None:
    source = source_of("hmac", header="X-Sig", timestamp={"header": "X-Time"})
    ids = [
        shown(source, body, {"X-Time": time, "X-Sig": sig})["id"]
        for body, time, sig in ((b"1", "5", "a"), (b"1", "5", "b"), (b"2", "5", "a"), (b"1", "6", "a"))
    ]
    assert ids[0] == ids[1]
    assert len({*ids}) == 3
    assert ids[0].startswith("sha256:")


@pytest.mark.parametrize(
    ("content_type", "body", "content"),
    [
        ("text/plain; charset=utf-8", "grüße".encode(), {"data": "grüße"}),
        ("application/x-www-form-urlencoded", b"a=b&c=d", {"data": "a=b&c=d"}),
        ("application/octet-stream", b"\x00\xff", {"data_base64": base64.b64encode(b"\x00\xff").decode()}),
        ("text/plain", b"\xff", {"data_base64": "/w=="}),
        (None, b"abc", {"data_base64": "YWJj"}),
        ("application/json", b"", {}),
        (None, b"", {}),
        ("application/vnd.api+json", b"[1]", {"data": [1]}),
    ],
)
def test_any_body_is_kept(content_type: str | None, body: bytes, content: dict[str, Any]) -> None:
    event = shown(source_of("none"), body, content_type=content_type)
    assert {name: event[name] for name in ("data", "data_base64") if name in event} == content


BAD: list[tuple[str, dict[str, Any], Any, dict[str, str], str]] = [
    ("github", {}, {}, {"X-GitHub-Delivery": "1"}, "x-github-event"),
    ("github", {}, {}, {"X-GitHub-Event": "push"}, "x-github-delivery"),
    ("github", {}, {}, GITHUB | {"X-GitHub-Event": " "}, "x-github-event"),
    ("github", {}, {}, GITHUB | {"X-GitHub-Delivery": "\xff"}, "x-github-delivery"),
    ("github", {}, {}, GITHUB | {"X-GitHub-Delivery": "x" * 300}, "id"),
    ("github", {}, {}, GITHUB | {"X-GitHub-Event": "x" * 300}, "type"),
    ("github", {}, {}, GITHUB | {"X-GitHub-Event": "!"}, "x-github-event"),
    ("github", {}, [1], GITHUB, "body"),
    ("github", {}, b"", GITHUB, "body"),
    ("github", {}, b"{", GITHUB, "body"),
    ("github", {}, b"\xff", GITHUB, "body"),
    ("github", {}, b'{"a": 1e999}', GITHUB, "body"),
    ("github", {}, b"[" * 5000, GITHUB, "body"),
    ("stripe", {}, {"type": "a"}, {}, "body.id"),
    ("stripe", {}, {"id": "evt_1"}, {}, "body.type"),
    ("stripe", {}, {"id": "", "type": "a"}, {}, "body.id"),
    ("stripe", {}, {"id": True, "type": "a"}, {}, "body.id"),
    ("stripe", {}, {"id": ["evt_1"], "type": "a"}, {}, "body.id"),
    ("stripe", {}, {"id": "a\nb", "type": "a"}, {}, "id"),
    ("stripe", {}, {"id": "evt_1", "type": "!?"}, {}, "body.type"),
    ("stripe", {}, "evt_1", {}, "body"),
    ("none", {"id": {"field": "a.b.c"}}, {"a": {"b": 1}}, {}, "body.a.b.c"),
    ("none", {"id": {"field": "a"}}, {"a": None}, {}, "body.a"),
    ("none", {"id": {"header": "X-Id"}}, {}, {}, "x-id"),
    ("none", {"type": {"field": "a"}}, {"a": "..."}, {}, "type"),
    ("none", {"subject": {"field": "s"}}, {"s": "a\x00"}, {}, "subject"),
]


@pytest.mark.parametrize(("kind", "declared", "body", "headers", "field"), BAD)
def test_what_is_missing_is_named(
    kind: str, declared: dict[str, Any], body: Any, headers: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidEvent) as refused:
        event_of(source_of(kind, **declared), body, headers)
    assert refused.value.field == field
    assert refused.value.fix


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("github", None),
        ("github", "text/plain"),
        ("github", "multipart/form-data; boundary=x"),
        ("stripe", "application/x-www-form-urlencoded"),
        ("stripe", "text/json"),
    ],
)
def test_media_types_that_a_sender_does_not_send(kind: str, content_type: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        source_of(kind).check_media_type(MediaType.parse(content_type))
    assert (refused.value.status, refused.value.field) == (415, "Content-Type")
