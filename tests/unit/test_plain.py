"""Plain publish: what a line of curl becomes, and what it is refused for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.plain import event_of, said_by, tag_of
from shared.model.errors import InvalidInput
from shared.model.producer import Producer
from tests.harness.asgi import Answer
from tests.harness.own_ingest import OwnIngest, own_ingest

SHOP = Producer("shop")


@pytest.fixture
async def own() -> AsyncIterator[OwnIngest]:
    async with own_ingest() as running:
        yield running


def data(body: str, target: str = "user:alice", **said: str) -> dict[str, Any]:
    made: dict[str, Any] = event_of(target, said, body.encode(), SHOP, None).data
    return made


@pytest.mark.parametrize(
    ("body", "said", "expected"),
    [
        ("Deploy finished", {}, {"title": "Deploy finished"}),
        ("  Deploy\t finished \n", {}, {"title": "Deploy finished"}),
        ("Deploy finished\r\n\r\nin 3 s\r\non two", {}, {"title": "Deploy finished", "body": "in 3 s\non two"}),
        ("x" * 501, {}, {"title": "x" * 100 + "…", "body": "x" * 501}),
        ("in 3 s", {"title": "Deploy"}, {"title": "Deploy", "body": "in 3 s"}),
        ("", {"title": "Deploy"}, {"title": "Deploy"}),
        (
            "D",
            {"level": "error", "link": "https://x.example/1", "topic": "deploys"},
            {"title": "D", "level": "error", "link": "https://x.example/1", "topic": "deploys"},
        ),
    ],
)
def test_text_becomes_a_notification(body: str, said: dict[str, str], expected: dict[str, str]) -> None:
    assert data(body, **said) == {"level": "info"} | expected


@pytest.mark.parametrize(
    ("target", "tags", "topic"),
    [
        ("user:alice", "user:alice", None),
        ("builds", "topic:builds", "builds"),
        ("builds/main", "topic:builds/main", "builds/main"),
        ("topic:builds/main", "topic:builds/main", "builds/main"),
        ("everyone", "everyone", None),
        ("build:7", "topic:build:7", "build:7"),
    ],
)
def test_the_address_names_a_topic_or_a_tag(target: str, tags: str, topic: str | None) -> None:
    event = event_of(target, {"tags": "user:bob"}, b"x", SHOP, None)
    assert event.audience == f"{tags} user:bob"
    assert event.data.get("topic") == topic


def test_the_topic_of_the_address_may_be_another_by_name() -> None:
    assert data("x", "builds/main", topic="builds")["topic"] == "builds"


@pytest.mark.parametrize("target", ["user:", "a b", "x" * 200, "user:a\x00", "user:a b"])
def test_an_address_that_is_none(target: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        tag_of(target)
    assert refused.value.field == "target"


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({"title": "Ä".encode().decode("latin-1")}, b"", {"title": "Ä"}),
        ({}, b"title=%C3%84+%F0%9F%94%94&level=error", {"title": "Ä 🔔", "level": "error"}),
        ({"Title": "a", "X-Other": "b"}, b"title=a", {"title": "a"}),
        ({"TITLE": "100%25 done"}, b"", {"title": "100%25 done"}),
        ({}, b"title=", {"title": ""}),
    ],
)
def test_words_come_by_headers_or_query(headers: dict[str, str], query: bytes, expected: dict[str, str]) -> None:
    assert said_by(headers, query) == expected


@pytest.mark.parametrize(
    ("headers", "query", "field"),
    [
        ({"title": "\xff"}, b"", "Title"),
        ({"title": "a"}, b"title=b", "title"),
        ({}, b"title=%ff", "query"),
        ({}, b"title=a&title=b", "query"),
        ({}, b"titel=a", "titel"),
        ({}, b"&".join(b"a=1" for _ in range(30)), "query"),
        ({}, "title=ä".encode(), "query"),
    ],
)
def test_words_that_are_refused(headers: dict[str, str], query: bytes, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        said_by(headers, query)
    assert refused.value.field == field
    assert refused.value.fix


async def publish(own: OwnIngest, target: str, body: bytes = b"Deploy finished", **options: Any) -> Answer:
    return await own.ask(options.pop("method", "POST"), f"/v1/publish/{target}".encode(), body, **options)


async def test_the_answer_names_the_event(own: OwnIngest) -> None:
    form = [(b"content-type", b"application/x-www-form-urlencoded"), (b"title", "Größe 🔔".encode())]
    answers = [
        await publish(own, "builds/main?level=warning", headers=form),
        await publish(own, "user:alice", method="PUT"),
    ]
    entries = await own.entries(2)
    for answer, entry in zip(answers, entries, strict=True):
        assert answer.status == 202
        said = json.loads(answer.body)
        assert said["accepted"] == [{"source": entry.source, "id": entry.id, "duplicate": False}]
        assert said["traceparent"] == entry.traceparent
    assert [entry.audience for entry in entries] == [("topic:builds/main",), ("user:alice",)]
    first = json.loads(entries[0].event)
    assert (first["type"], first["source"]) == ("notification.sent", "/producers/shop")
    expected = {"title": "Größe 🔔", "body": "Deploy finished", "level": "warning", "topic": "builds/main"}
    assert first["data"] == expected


async def test_slashes_are_the_topics_own(own: OwnIngest) -> None:
    assert (await publish(own, "a//b/")).status == 202
    assert (await publish(own, "/a")).status == 404
    assert [entry.audience for entry in await own.entries(1)] == [("topic:a//b/",)]


async def test_a_key_makes_it_the_same_event(own: OwnIngest) -> None:
    key = [(b"idempotency-key", b'"8e03978e-40d5-43dd-bc93-6894a57f9324"')]
    first = json.loads((await publish(own, "user:alice", headers=key)).body)
    await own.entries(1)
    again = json.loads((await publish(own, "user:alice", headers=key)).body)
    assert again["accepted"] == [first["accepted"][0] | {"duplicate": True}]
    assert again["traceparent"] == first["traceparent"]
    assert json.loads((await publish(own, "user:alice")).body)["accepted"][0]["id"] != first["accepted"][0]["id"]
    await own.entries(2)


@pytest.mark.parametrize(
    ("target", "options", "status", "field"),
    [
        ("user:alice", {"key": None}, 401, "Authorization"),
        ("user:alice", {"body": b""}, 400, "body"),
        ("user:alice", {"body": b"\xff"}, 400, "body"),
        ("user:alice", {"body": b"\x1b[31mred"}, 400, "title"),
        ("user:alice", {"body": b"x" * 40_000}, 413, "body"),
        ("user:alice", {"body": b"x" * 20_000}, 400, "body"),
        ("user:alice", {"headers": [(b"content-type", b"application/json")]}, 415, "Content-Type"),
        ("user:alice", {"headers": [(b"content-type", b"multipart/form-data; boundary=x")]}, 415, "Content-Type"),
        ("user:alice", {"headers": [(b"content-type", b"text/plain; charset=latin-1")]}, 415, "Content-Type"),
        ("user:alice", {"headers": [(b"level", b"fatal")]}, 400, "level"),
        ("user:alice", {"headers": [(b"link", b"javascript:alert(1)")]}, 400, "link"),
        ("user:alice", {"headers": [(b"tags", b"bob")]}, 400, "audience"),
        ("user:alice", {"headers": [(b"idempotency-key", b"")]}, 400, "Idempotency-Key"),
        ("control:alice", {}, 400, "audience"),
        ("user:alice?titel=x", {}, 400, "titel"),
        ("user:a%20b", {}, 400, "target"),
        ("", {}, 404, None),
        ("user:alice", {"method": "GET"}, 405, None),
    ],
)
async def test_a_refusal_names_what_is_wrong(
    own: OwnIngest, target: str, options: dict[str, Any], status: int, field: str | None
) -> None:
    answer = await publish(own, target, **options)
    assert (answer.status, answer.problem.get("field")) == (status, field)


async def test_without_the_broker_it_is_503(own: OwnIngest) -> None:
    own.switch.is_away = True
    answer = await publish(own, "user:alice")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


names = st.sampled_from([b"title", b"level", b"link", b"topic", b"tags", b"content-type", b"idempotency-key"])
# What an HTTP parser lets through: RFC 9110, 5.5.
values = st.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip())


@settings(
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    target=st.binary(min_size=1, max_size=12),
    query=st.one_of(st.just(b""), st.binary(max_size=20)),
    headers=st.lists(st.tuples(names, values), max_size=4),
    body=st.one_of(st.text(max_size=30).map(str.encode), st.binary(max_size=30)),
)
async def test_any_bytes_are_accepted_or_refused(
    own: OwnIngest, target: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    path = b"/v1/publish/" + quote_from_bytes(target).encode() + b"?" + quote_from_bytes(query, safe="=&+").encode()
    answer = await own.ask("POST", path, body, headers)
    assert answer.status in (202, 400, 404, 415), answer
    assert answer.status < 400 or answer.problem
