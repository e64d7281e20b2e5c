"""What a stream may be asked for, what it then sends, and how else the address may be asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from services.persister.dispatcher import PROGRESS_EVERY_S
from shared.model.cursor import Cursor
from tests.eventually import WITHIN_S
from tests.harness.platform import Platform
from tests.harness.publisher import Publisher
from tests.harness.shared import BOTH_ADAPTERS, shared_platform
from tests.harness.visitor import LAST, Stream, Visitor, Visitors

pytestmark = pytest.mark.servers

TYPES = ("order.created", "order.paid.late", "job.done", "job.done.twice", "orders")
BEAT_S, DEFAULT_BEAT_S = 1, 15
OFTEN = {"heartbeat": str(BEAT_S)}
# Told every so often, shown at the next heartbeat; the rest is for busy cores.
PROGRESS_WITHIN_S = PROGRESS_EVERY_S + 2 * BEAT_S + WITHIN_S


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH_ADAPTERS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with shared_platform(request, tmp_path_factory) as ready:
        yield ready


def edges(platform: Platform) -> range:
    return range(len(platform.edge_urls))


async def publish_types(publisher: Publisher, audience: str) -> None:
    for type_ in TYPES:
        await publisher.publish(audience, type=type_)


def types(stream: Stream) -> list[str]:
    return [delivery.type for delivery in stream.reading.deliveries if delivery.type != LAST]


def is_order_or_done(type_: str) -> bool:
    return type_.startswith("order.") or type_ in ("job.done", LAST)


@pytest.mark.parametrize("start", ["now", "earliest"])
async def test_types_filter_what_is_live_and_what_is_read_from_the_log(platform: Platform, start: str) -> None:
    user = f"picky-{start}"
    query = {"types": f"order.*,job.done, {LAST}"} | ({"last-event-id": "earliest"} if start == "earliest" else {})
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor(user)
        if start == "earliest":
            await publish_types(publisher, f"user:{user}")
        streams = [
            await visitor.open(edge, headers=visitor.bearer, query=query, wants=is_order_or_done)
            for edge in edges(platform)
        ]
        await publish_types(publisher, f"user:{user}")
        await visitors.keep_their_promises(publisher)

    times = 2 if start == "earliest" else 1
    assert [types(stream) for stream in streams] == [["order.created", "order.paid.late", "job.done"] * times] * len(
        streams
    )


async def test_a_filtered_stream_resumes_behind_what_it_left_out(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("resumer")
        first = await visitor.open(headers=visitor.bearer, query={"types": "job.done"}, wants="job.done".__eq__)
        await publish_types(publisher, "user:resumer")
        await first.until(lambda stream: stream.received)
        await first.leave()
        again = await visitor.open(headers=visitor.bearer | {"Last-Event-ID": str(first.cursor)})
        await publisher.publish("user:resumer", type="job.begun")
        await visitors.keep_their_promises(publisher)

    assert types(again) == ["job.done.twice", "orders", "job.begun"]


async def test_topics_narrow_and_ask_within_what_is_granted(platform: Platform) -> None:
    """Of a pattern nothing comes unasked: it grants, and does not subscribe."""
    asked = {
        None: ["builds/main", "chat"],
        "chat": ["chat"],
        "builds/7": ["builds/7"],
        "builds/7, builds/main,chat": ["builds/7", "builds/main", "chat"],
        "builds/a/b": ["builds/a/b"],
    }
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("asker", "topic:builds/*", "topic:builds/main", "topic:chat")
        streams = [
            await visitor.open(
                number % len(platform.edge_urls),
                headers=visitor.bearer,
                topics=topics,
                query={"topics": query} if query else {},
            )
            for number, (query, topics) in enumerate(asked.items())
        ]
        for topic in ("builds/7", "builds/main", "builds/a/b", "builds", "chat", "other"):
            await publisher.publish(f"topic:{topic}", type=topic)
        await publisher.publish("user:asker", type="own")
        await visitors.keep_their_promises(publisher)

    assert [sorted(types(stream)) for stream in streams] == [sorted([*topics, "own"]) for topics in asked.values()]


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("other", "other"),
        ("chat,other,builds", "other, builds"),
        ("builds/*", "builds/*"),
        ("*", "*"),
        ("presence", "presence"),
        ("chatter", "chatter"),
    ],
)
async def test_a_topic_that_is_not_granted_is_refused_by_name(platform: Platform, query: str, refused: str) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("overreacher", "topic:builds/*", "topic:chat")
        answers = [
            await visitor.refused(edge, headers=visitor.bearer, query={"topics": query}) for edge in edges(platform)
        ]
    for answer in answers:
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"] == "topics"
        assert answer.json()["detail"] == f"not granted: {refused}"


async def test_unnamed_events_reach_clients_that_listen_to_message_only(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("catch-all")
        await publish_types(publisher, "user:catch-all")
        query = {"as": "message", "last-event-id": "earliest"}
        streams = [await visitor.open(edge, headers=visitor.bearer, query=query) for edge in edges(platform)]
        named = await visitor.open(headers=visitor.bearer)
        await publish_types(publisher, "user:catch-all")
        await visitors.keep_their_promises(publisher)

    for stream in streams:
        assert types(stream) == [*TYPES, *TYPES]
        assert {frame.event for frame in stream.frames if frame.data is not None} == {"connected", None}
    assert {frame.event for frame in named.frames if frame.data is not None} == {"connected", *TYPES, LAST}


async def test_a_heartbeat_comes_as_often_as_it_is_asked_for(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("beating")
        began = time.monotonic()
        stream = await visitor.open(headers=visitor.bearer, query=OFTEN)
        default = await visitor.open(headers=visitor.bearer)
        await stream.until(lambda stream: len([frame for frame in stream.frames if beats(frame.text)]) >= 3)
        took_s = time.monotonic() - began
    assert stream.named("connected")[0]["heartbeat_s"] == BEAT_S
    assert default.named("connected")[0]["heartbeat_s"] == DEFAULT_BEAT_S
    # The first of all comes after half of its time or later.
    assert 2 * BEAT_S < took_s < 2 * DEFAULT_BEAT_S
    assert len([frame for frame in default.frames if beats(frame.text)]) <= 2 * took_s / DEFAULT_BEAT_S


def beats(text: str) -> bool:
    return text == ":" or (text.startswith("id: ") and "\n" not in text)


async def test_the_cursor_of_a_quiet_stream_moves_on(platform: Platform) -> None:
    """Else retention resets a client who missed nothing."""
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        quiet = visitors.visitor("quiet")
        streams = [await quiet.open(edge, headers=quiet.bearer, query=OFTEN) for edge in edges(platform)]
        unwanted = await quiet.open(headers=quiet.bearer, query=OFTEN | {"types": "never"}, wants="never".__eq__)
        for _ in range(20):
            await publisher.publish("user:noisy")
        own = await publisher.publish("user:quiet")
        for stream in streams:
            await stream.has(own.attributes["id"])
        behind = position_of(streams[0])
        for _ in range(20):
            await publisher.publish("user:noisy")
        for stream in [*streams, unwanted]:
            await stream.until(lambda stream: position_of(stream) >= behind + 20, PROGRESS_WITHIN_S)
            await stream.leave()
        resumed = [
            await quiet.open(edge, headers=quiet.bearer | {"Last-Event-ID": str(stream.cursor)})
            for edge, stream in enumerate(streams)
        ]
        await publisher.publish("user:quiet")
        await visitors.keep_their_promises(publisher)

    for stream in [*streams, unwanted]:
        assert stream.frames[-1].is_progress
        positions = [Cursor.parse(frame.id).position for frame in stream.frames if frame.id]
        assert positions == sorted(positions)
    assert all(len(stream.received) == 1 for stream in resumed)


def position_of(stream: Stream) -> int:
    return Cursor.parse(str(stream.cursor)).position


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("nonsense=1", "nonsense"),
        ("Types=a", "Types"),
        ("x" * 5000, "x" * 60),
        ("%C3%A9=1", "é"),
        ("as=events", "as"),
        ("as=", "as"),
        ("heartbeat=0.5", "heartbeat"),
        ("heartbeat=121", "heartbeat"),
        ("heartbeat=nan", "heartbeat"),
        ("heartbeat=often", "heartbeat"),
        ("types=", "types"),
        ("types=a,,b", "types"),
        (f"types={'a' * 300}", "types"),
        (f"types={','.join(map(str, range(51)))}", "types"),
        ("topics=", "topics"),
        (f"topics={','.join(map(str, range(51)))}", "topics"),
        ("last-event-id=7", "last-event-id"),
        (f"last-event-id={'a' * 10_000}", "last-event-id"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(platform: Platform, query: str, named: str) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("fumbler")
        answer = await visitor.ask("GET", f"/v1/events?{query}", headers=visitor.bearer)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == named
    assert answer.json()["fix"]


@pytest.mark.parametrize("cursor", ["x" * 10_240, "9" * 10_240, f"{'a' * 32}.1", "é" * 100, "a.b.c"])
async def test_a_cursor_from_elsewhere_gets_a_reset_and_the_stream_goes_on(platform: Platform, cursor: str) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("wanderer")
        stream = await visitor.open(headers=visitor.bearer | {"Last-Event-ID": cursor})
        await stream.until(lambda stream: stream.named("reset"))
        [reset] = stream.named("reset")
        assert reset["cursor"] == stream.cursor
        event = await publisher.publish("user:wanderer")
        await stream.has(event.attributes["id"])
        # It is what this test is about, and for every other stream a broken promise.
        stream.reading.resets.clear()
        await visitors.keep_their_promises(publisher)
    assert reset["reason"] == ("other-log" if cursor.startswith("aa") else "unreadable-cursor")


async def test_head_answers_the_headers_of_a_stream_and_opens_none(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("header")
        # More often than a user may have streams.
        answers = [await head(visitor, number % len(platform.edge_urls)) for number in range(15)]
        stream = await visitor.open(headers=visitor.bearer)
        refused = await visitor.ask("HEAD", "/v1/events")
    for answer in answers:
        assert answer.status_code == 200
        assert answer.content == b""
        for name in ("content-type", "cache-control", "x-accel-buffering"):
            assert answer.headers[name] == stream.response.headers[name]
    assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.response.headers["cache-control"] == "no-store, no-transform"
    assert refused.status_code == 401


async def head(visitor: Visitor, edge: int) -> httpx.Response:
    return await visitor.ask("HEAD", "/v1/events", edge, headers=visitor.bearer)


@pytest.mark.parametrize(
    ("path", "allowed", "refused"),
    [
        ("/v1/events", {"GET", "HEAD", "OPTIONS"}, "DELETE"),
        ("/v1/session", {"POST", "GET", "HEAD", "DELETE", "OPTIONS"}, "PUT"),
        ("/v1/tickets", {"POST", "OPTIONS"}, "GET"),
        ("/v1/connections", {"GET", "HEAD", "DELETE", "OPTIONS"}, "PATCH"),
    ],
)
async def test_other_methods_are_refused_and_options_name_those_there_are(
    platform: Platform, path: str, allowed: set[str], refused: str
) -> None:
    """`carillon dev` takes events at the address that it serves them from."""
    also = {"POST"} if path == "/v1/events" and len(platform.services) == 1 else set()
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("methodical")
        options = await visitor.ask("OPTIONS", path)
        answer = await visitor.ask(refused, path, headers=visitor.bearer)
    assert options.status_code in (200, 204)
    assert options.content == b""
    assert methods(options) in (allowed, allowed | also)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert methods(answer) == allowed | also


def methods(answer: httpx.Response) -> set[str]:
    return {method.strip() for method in answer.headers["allow"].split(",")}
