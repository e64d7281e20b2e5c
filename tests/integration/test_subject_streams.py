"""A stream of one subject, over a real socket: its state first, then each event, and after the last one the end."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.eventually import answered, eventually
from tests.harness.checker import Reading
from tests.harness.own_edge import OwnEdge, own_edge, served
from tests.harness.visitor import Frame, Stream
from tests.integration.test_subjects import folded, told

ALL = frozenset({"user:alice", "everyone"})


class Watcher:
    """Somebody who opens streams of an edge."""

    def __init__(self, own: OwnEdge, http: httpx.AsyncClient, user: str, **claims: Any) -> None:
        self._own, self._http, self._headers = own, http, own.bearer(user, **claims)

    async def open(self, path: str, cursor: str | None = None) -> Stream:
        """A stream that has begun."""
        answer = await self.ask(path, cursor)
        assert answer.status_code == 200, (await answer.aread(), answer.status_code)
        stream = Stream(answer, Reading("watcher", ALL, ""))
        # Of one subject, what is published before its snapshot was made is in that.
        first = "connected" if path.startswith("/events") else "snapshot"
        await stream.until(lambda stream: stream.named(first))
        return stream

    async def ask(self, path: str, cursor: str | None = None) -> httpx.Response:
        headers = self._headers | ({"Last-Event-ID": cursor} if cursor is not None else {})
        return await self._http.send(
            self._http.build_request("GET", f"/v1/streams{path}", headers=headers), stream=True
        )

    async def status(self, path: str, cursor: str | None = None) -> int:
        answer = await self.ask(path, cursor)
        await answer.aclose()
        return answer.status_code


@asynccontextmanager
async def watched(**settings: object) -> AsyncIterator[tuple[OwnEdge, Watcher, Watcher]]:
    """An edge that is served, and alice and bob before it."""
    async with own_edge(**settings) as own:
        await folded(own)
        async with served(own) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            yield own, Watcher(own, http, "alice"), Watcher(own, http, "bob")


def names(stream: Stream) -> list[str]:
    """What came, but for signs of life."""
    return [frame.event for frame in stream.frames if frame.event is not None]


async def test_a_job_from_its_beginning_to_its_end() -> None:
    async with watched() as (own, alice, _):
        stream = await alice.open("/job/1/events")
        assert stream.named("snapshot")[0]["version"] == 0, "what has not begun has a state, too"
        await own.publish(subject="job/1", data={"status": "running", "progress": 1}, type="job.progressed")
        await own.publish(subject="job/2", data={"status": "running"})
        await own.publish(subject="job/1", data={"status": "completed"}, type="job.completed", final="true")
        assert await stream.closed() is None
        assert names(stream) == ["connected", "snapshot", "job.progressed", "job.completed", "end"]
        assert stream.named("end") == [{"status": "completed", "version": 2}]
        assert stream.frames[-1].id is None
        assert await alice.status("/job/1/events", stream.cursor) == 204


async def test_it_begins_with_its_state_at_a_cursor() -> None:
    async with watched() as (own, alice, _):
        for progress in (10, 20):
            await told(own, "job/1", {"status": "running", "progress": progress})
        stream = await alice.open("/job/1/events")
        await told(own, "job/1", {"progress": 30})
        await stream.until(lambda stream: stream.reading.deliveries)
        (snapshot,) = [frame for frame in stream.frames if frame.event == "snapshot"]
        assert (snapshot.data["version"], snapshot.data["progress"]) == (2, 20)
        assert snapshot.id == snapshot.data["cursor"] == stream.frames[1].id
        assert [delivery.data["data"] for delivery in stream.reading.deliveries] == [{"progress": 30}]
        await stream.leave()


async def test_an_ended_stream_is_shown_once_and_then_no_more() -> None:
    async with watched() as (own, alice, _):
        await told(own, "job/1", {"status": "running"})
        before = await alice.open("/job/1/events")
        cursor = before.cursor
        await before.leave()
        await told(own, "job/1", {"status": "failed", "error": "boom"})
        for missed_it in (None, cursor, "nonsense", "otherlog00.99"):
            stream = await alice.open("/job/1/events", missed_it)
            assert await stream.closed() is None
            assert names(stream) == ["connected", "snapshot", "end"]
            assert stream.named("snapshot")[0]["state"] == {"status": "failed", "error": "boom"}
            assert stream.named("end") == [{"status": "failed", "version": 2}]
            assert await alice.status("/job/1/events", stream.cursor) == 204
        await told(own, "job/1", {"status": "running"})
        assert await alice.status("/job/1/events", stream.cursor) == 204, "what comes after the end changes nothing"
        await eventually(lambda: own.edge.connection_count == 0)


async def test_what_follows_the_end_is_not_shown() -> None:
    async with watched() as (own, alice, _):
        stream = await alice.open("/job/1/events")
        await asyncio.gather(
            *(own.publish(subject="job/1", data=data) for data in ({"n": 1}, {"status": "passed"}, {"n": 2}, {"n": 3}))
        )
        assert await stream.closed() is None
        assert names(stream)[-1] == "end"
        assert {"status": "passed"} in [delivery.data["data"] for delivery in stream.reading.deliveries]
        page = await own.backends.event_log.read_stream("job/1", 0, 10)
        ended = next(entry.version for entry in page.entries if b"passed" in entry.event)
        assert stream.named("end")[0]["version"] == ended == len(stream.reading.deliveries)


async def test_others_find_nothing() -> None:
    async with watched() as (own, _, bob):
        await told(own, "job/1", {"status": "running"})
        assert await bob.status("/job/1/events") == 404
        await told(own, "job/1", {"status": "completed"})
        assert await bob.status("/job/1/events") == 404
        assert own.edge.statistics()["connections"] == 0


async def test_each_is_shown_the_events_that_address_them() -> None:
    async with watched() as (own, alice, bob):
        ours = await alice.open("/job/1/events")
        await told(own, "job/1", {"n": 1})
        await told(own, "job/1", {"n": 2}, "user:bob user:alice")
        theirs = await bob.open("/job/1/events")
        await told(own, "job/1", {"n": 3, "status": "failed"}, "user:bob")
        assert await theirs.closed() is None
        assert theirs.named("snapshot")[0]["state"] == {"n": 2}
        assert theirs.named("end") == [{"status": "failed", "version": 3}]
        await told(own, "job/1", {"n": 4, "status": "completed"})
        assert await ours.closed() is None
        assert [delivery.data["data"]["n"] for delivery in ours.reading.deliveries] == [1, 2, 4]


async def test_a_producer_that_falls_silent() -> None:
    async with watched(stale_s=1.0) as (own, alice, _):
        await told(own, "job/1", {"status": "running"})
        stream = await alice.open("/job/1/events")
        await stream.until(lambda stream: len(stream.named("stale")) >= 2)
        quiet = [told["quiet_s"] for told in stream.named("stale")]
        assert quiet == sorted(quiet)
        assert quiet[0] >= 1
        assert [frame.id for frame in stream.frames if frame.event == "stale"] == [None] * len(stream.named("stale"))
        await told(own, "job/1", {"status": "completed"})
        assert await stream.closed() is None
        assert names(stream)[-1] == "end"


async def test_what_does_not_begin_is_not_waited_for_for_ever() -> None:
    async with watched(stream_wait_s=0.3, stale_s=0.1) as (own, alice, _):
        stream = await alice.open("/job/none/events")
        assert await stream.closed() == "not-begun"
        assert stream.frames[-1].data["reconnect"] is False
        assert "stale" not in names(stream)
        numbers = itertools.count(1)

        async def begins_in_time() -> None:
            number = next(numbers)
            begun = await alice.open(f"/job/{number}/events")
            await told(own, f"job/{number}", {"status": "running"})
            # The fourth comes when the time to begin would be over.
            await begun.until(lambda stream: len(stream.named("stale")) > 3 or not stream.is_open)
            assert begun.is_open
            await begun.leave()

        # Again where a busy machine has told too late.
        await answered(begins_in_time, AssertionError)


async def test_all_jobs_on_one_connection_from_the_cursor_of_a_list() -> None:
    async with watched() as (own, alice, bob):
        await told(own, "job/1", {"status": "running"})
        await folded(own)
        cursor = json.loads(await (await alice.ask("?prefix=job/")).aread())["cursor"]
        await told(own, "job/2", {"status": "running"})
        stream = await alice.open("/events?prefix=job/", cursor)
        theirs = await bob.open("/events?prefix=job/")
        await told(own, "order/1", {"total": 1})
        await told(own, "jobless", {"n": 1})
        await told(own, "job/1", {"status": "completed"}, final="true")
        await told(own, "job/3", {"n": 1}, "user:bob")
        await stream.until(lambda stream: len(stream.reading.deliveries) >= 2)
        await theirs.until(lambda stream: stream.reading.deliveries)
        assert [delivery.data["subject"] for delivery in stream.reading.deliveries] == ["job/2", "job/1"]
        assert [delivery.data["subject"] for delivery in theirs.reading.deliveries] == ["job/3"]
        assert stream.is_open, "one run's end is not that of all"
        for each in (stream, theirs):
            await each.leave()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/events", 400),
        ("/events?prefix=", 400),
        ("/events?prefix=job/&sort=1", 400),
        ("/job/1/events?types=a", 400),
        ("/job/1/events?prefix=a", 400),
        ("/job/1/events?topics=secret", 403),
        ("/job/1/events?last-event-id=x", 400),
    ],
)
async def test_bad_input(path: str, status: int) -> None:
    async with watched() as (own, alice, _):
        assert await alice.status(path) == status
        assert own.edge.statistics()["connections"] == 0


async def test_snapshot_and_live_join_while_events_race() -> None:
    """Each opening lands at another moment of the stream: its snapshot and what follows are always the whole."""
    async with watched(connections_per_user=100, connects_per_user_per_s=1000) as (own, alice, _):
        enough = asyncio.Event()
        writing = asyncio.create_task(_write(own, enough))
        streams: list[Stream] = []
        while len({stream.named("snapshot")[0]["version"] for stream in streams}) < 8 and len(streams) < 90:
            streams.append(await alice.open("/job/1/events"))
        enough.set()
        total = await writing
        await own.publish(subject="job/1", data={"status": "completed"})
        for stream in streams:
            assert await stream.closed() is None
            versions = [delivery.data["data"].get("n") for delivery in stream.reading.deliveries]
            begun = stream.named("snapshot")[0]["version"]
            assert versions == [*range(begun + 1, total + 1), None], "a gap or a repeat"
        assert len({stream.named("snapshot")[0]["version"] for stream in streams}) > 2, "they opened at different times"


async def _write(own: OwnEdge, enough: asyncio.Event) -> int:
    """How many events it has published until then."""
    n = 0
    while not enough.is_set():
        n += 1
        await own.publish(subject="job/1", data={"n": n})
    return n


async def test_a_reader_that_lost_its_feed_gets_the_end_all_the_same() -> None:
    """The ending event was waiting when the feed broke: it is read from the log, and ends the stream once."""
    async with watched() as (own, alice, _):
        stream = await alice.open("/job/1/events")
        await told(own, "job/1", {"n": 1})
        own.backends.broker.lose_feeds("a test")  # type: ignore[attr-defined]  # the embedded one
        await told(own, "job/1", {"status": "cancelled"})
        assert await stream.closed() is None
        assert names(stream).count("end") == 1
        assert [delivery.data["data"] for delivery in stream.reading.deliveries] == [{"n": 1}, {"status": "cancelled"}]


async def test_unnamed_events_still_end() -> None:
    async with watched() as (own, alice, _):
        stream = await alice.open("/job/1/events?as=message")
        await told(own, "job/1", {"status": "passed"}, type="job.done")
        assert await stream.closed() is None
        frames: list[Frame] = [frame for frame in stream.frames if frame.data is not None]
        assert [frame.event for frame in frames] == ["connected", "snapshot", None, "end"]
