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


def entry_at(position: int) -> Entry:
    attributes = {"specversion": "1.0", "id": str(position), "source": "/t", "type": "t", "audience": "user:alice"}
    event = Event.from_attributes(attributes)
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
