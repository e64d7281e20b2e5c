"""One connection before anybody reads it: what reaches it while it is being opened must not be lost."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.edge import frames
from services.edge.connection import Connection
from services.edge.edge import Edge
from services.edge.inbox_requests import subscription_changed
from services.edge.selection import Selection
from services.edge.sessions import Session
from services.edge.view import Start
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Head, Page
from shared.model.errors import LogUnavailable
from shared.model.event import Event
from shared.model.settings import Settings
from shared.web.stream import asgi_body
from tests.eventually import eventually

# A day: the suite collects its tests minutes before it runs them.
UNTIL = int(time.time()) + 86_400
SESSION = Session("alice", "sid", (), time.time(), UNTIL, UNTIL)


def entry_at(position: int, audience: str = "user:alice") -> Entry:
    attributes = {"specversion": "1.0", "id": str(position), "source": "/t", "type": "t", "audience": audience}
    return entry_of(Event.from_attributes(attributes), position)


def entry_of(event: Event, position: int) -> Entry:
    return Entry(
        position, None, event.source, event.id, event.type, None, event.tags, False, None, None,
        datetime.now(UTC), event.public_json(),
    )  # fmt: skip


class LogOfOne:
    """What a connection asks of its edge, over a log with a single event."""

    settings = Settings()

    def cursor(self, position: int) -> str:
        return str(Cursor("log1", position))

    def encode(self, entry: Entry) -> frames.EventFrame:
        return frames.EventFrame.of(entry, self.cursor(entry.position))

    async def read(self, after: int, tags: Any) -> Page:
        head = Head("log1", 1)
        return Page([entry_at(1)] if after < 1 else [], max(after, 1), head)

    def __init__(self) -> None:
        self.forgotten: list[Connection] = []

    def forget(self, connection: Connection) -> None:
        self.forgotten.append(connection)


class LogTrimmed(LogOfOne):
    async def read(self, after: int, tags: Any) -> Page:
        return Page([entry_at(8)], 9, Head("log1", 9, floor=7))


class LogAway(LogOfOne):
    async def read(self, after: int, tags: Any) -> Page:
        raise LogUnavailable("away")


@pytest.mark.parametrize("what", ["an entry", "a lost feed"])
async def test_what_comes_before_the_start_is_known_is_read_from_the_log(what: str) -> None:
    """The answer of the log says 0, and while it is on its way position 1 is appended and dispatched.

    On a busy loop the event was there first, and was let go: nobody would have sent it again.
    """
    connection = Connection(cast("Edge", LogOfOne()), SESSION, Selection(), "")
    connection.bound()
    if what == "an entry":
        connection.deliver(entry_at(1), frames.EventFrame.of(entry_at(1), "log1.1"))
    else:
        connection.interrupted()
        connection.bound()
    connection.begin(Start(0), head=0)
    stream = asgi_body(connection)
    greeting, first = await anext(stream), await anext(stream)
    connection.end()
    await cast("Any", stream).aclose()

    assert b"event: connected" in greeting
    assert first.startswith(b"id: log1.1\n")


async def test_opening_may_take_longer_than_a_heartbeat() -> None:
    """The crowd after a restart waits its turn for seconds.

    The heartbeat's timer ran from the request on, took who had not begun for a client that had gone, and
    gave the connection's feed back: the stream began, and said nothing for ever.
    """
    edge = LogOfOne()
    connection = Connection(cast("Edge", edge), SESSION, Selection(heartbeat_s=0.01), "")
    await asyncio.sleep(0.05)
    connection.bound()
    connection.begin(Start(1), head=1)
    await asyncio.sleep(0.05)
    stream = asgi_body(connection)
    async with asyncio.timeout(60):
        assert b"event: connected" in await anext(stream)
        assert await anext(stream) == frames.HEARTBEAT
    assert edge.forgotten == []
    connection.end()
    await cast("Any", stream).aclose()


async def test_a_stream_that_nobody_began_to_read_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.edge.connection.START_WITHIN_S", 0.01)
    edge = LogOfOne()
    connection = Connection(cast("Edge", edge), SESSION, Selection(), "")
    connection.begin(Start(1), head=1)
    await eventually(lambda: edge.forgotten)
    assert [chunk async for chunk in asgi_body(connection)] == []


async def test_a_stream_that_is_behind_beats_while_the_log_is_away() -> None:
    edge = LogAway()
    connection = Connection(cast("Edge", edge), SESSION, Selection(heartbeat_s=0.01), "")
    connection.begin(Start(0), head=1)
    stream = asgi_body(connection)
    async with asyncio.timeout(60):
        await anext(stream)
        assert [await anext(stream), await anext(stream)] == [frames.HEARTBEAT] * 2
    connection.end()
    await cast("Any", stream).aclose()


async def test_a_backlog_that_retention_overtook_says_so() -> None:
    """The client took its time, and what it was about to read was trimmed: before, it never heard of it."""
    connection = Connection(cast("Edge", LogTrimmed()), SESSION, Selection(), "")
    connection.bound()
    connection.begin(Start(3), head=9)
    stream = asgi_body(connection)
    async with asyncio.timeout(60):
        _, reset, first = [await anext(stream) for _ in range(3)]
    connection.end()
    await cast("Any", stream).aclose()

    assert b"event: reset" in reset
    assert b"history-trimmed" in reset
    assert b"id: log1.7\n" in reset
    assert first.startswith(b"id: log1.8\n")


class LogOfTopics(LogOfOne):
    """Alice follows a topic at 1 and another at 3; each of them has an event then, and the last is hers."""

    entries = (
        entry_of(subscription_changed("alice", "a", "followed", None), 1),
        entry_at(2, "topic:a"),
        entry_of(subscription_changed("alice", "b", "followed", None), 3),
        entry_at(4, "topic:b"),
        entry_at(5),
    )

    def __init__(self) -> None:
        super().__init__()
        self.choosing = 0
        self.told: list[tuple[int, bool]] = []

    async def read(self, after: int, tags: Any) -> Page:
        found = [each for each in self.entries if each.position > after and not set(tags).isdisjoint(each.audience)]
        return Page(found, 5, Head("log1", 5))

    def inbox_moved(self, connection: Connection, entry: Entry, *, is_live: bool) -> None:
        self.told.append((entry.position, is_live))

    def topics_changed(self, connection: Connection) -> None:
        self.choosing += 1


def ids_of(text: bytes) -> list[int]:
    return [int(line.rsplit(b".")[1]) for line in text.splitlines() if line.startswith(b"id: ")]


async def test_topics_that_change_while_others_are_being_chosen_are_chosen_as_well() -> None:
    """Two topics were followed one after the other. The first choice was taken for the second one's, too.

    What came of the second topic until it was bound at last was lost to the stream.
    """
    edge = LogOfTopics()
    connection = Connection(cast("Edge", edge), SESSION, Selection(), "")
    connection.bound()
    connection.begin(Start(0), head=0)
    stream = asgi_body(connection)
    assert b"event: connected" in await anext(stream)
    for entry in (edge.entries[0], edge.entries[2]):
        connection.deliver(entry, edge.encode(entry))
    assert edge.choosing == 1, "one chooses until all is chosen"

    connection.tags = connection.tags_as_of(1, {"topic:a": 1})
    connection.chosen()
    assert connection.is_choosing
    connection.tags = connection.tags_as_of(3, {"topic:a": 1, "topic:b": 3})
    connection.chosen()
    assert not connection.is_choosing
    async with asyncio.timeout(10):
        assert ids_of(await anext(stream)) == [2, 4, 5]
    connection.end()
    await cast("Any", stream).aclose()


async def test_topics_that_changed_while_a_stream_had_no_feed_are_chosen_as_the_log_tells_of_them() -> None:
    """Followed by way of another edge while the broker was away from this one: it never came to the stream."""
    edge = LogOfTopics()
    connection = Connection(cast("Edge", edge), SESSION, Selection(), "")
    connection.tags = connection.tags_as_of(1, {"topic:a": 1})
    connection.bound()
    connection.begin(Start(1), head=1)
    stream = asgi_body(connection)
    assert b"event: connected" in await anext(stream)
    connection.interrupted()
    connection.bound()
    async with asyncio.timeout(10):
        assert ids_of(await anext(stream)) == [2]
    assert (edge.choosing, edge.told) == (1, [(3, False)])
    connection.tags = connection.tags_as_of(5, {"topic:a": 1, "topic:b": 3})
    connection.chosen()
    async with asyncio.timeout(10):
        assert ids_of(await anext(stream)) == [4, 5]
    assert edge.choosing == 1
    connection.end()
    await cast("Any", stream).aclose()


async def test_who_ends_while_its_topics_are_chosen_has_nothing_to_choose_any_more() -> None:
    edge = LogOfTopics()
    connection = Connection(cast("Edge", edge), SESSION, Selection(), "")
    connection.begin(Start(0), head=0)
    connection.deliver(edge.entries[0], edge.encode(edge.entries[0]))
    assert connection.is_choosing
    connection.end()
    assert not connection.is_choosing
