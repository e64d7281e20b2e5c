"""One connection before anybody reads it: what reaches it while it is being opened must not be lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.edge import frames
from services.edge.connection import Connection
from services.edge.edge import Edge
from services.edge.selection import Selection
from services.edge.sessions import Session
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Head, Page
from shared.model.event import Event
from shared.model.settings import Settings

SESSION = Session("alice", "sid", (), time.time(), int(time.time()) + 600, int(time.time()) + 600)


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

    def encode(self, entry: Entry) -> bytes:
        return frames.frame(entry.type, entry.event, self.cursor(entry.position))

    async def read(self, after: int, tags: Any) -> Page:
        head = Head("log1", 1)
        return Page([entry_at(1)] if after < 1 else [], max(after, 1), head)

    def forget(self, connection: Connection) -> None: ...


@pytest.mark.parametrize("what", ["an entry", "a lost feed"])
async def test_what_comes_before_the_start_is_known_is_read_from_the_log(what: str) -> None:
    """The answer of the log says 0, and while it is on its way position 1 is appended and dispatched.

    On a busy loop the event was there first, and was let go: nobody would have sent it again.
    """
    connection = Connection(cast("Edge", LogOfOne()), SESSION, Selection(), "")
    connection.bound()
    if what == "an entry":
        connection.deliver(entry_at(1), b"")
    else:
        connection.interrupted()
        connection.bound()
    connection.begin(0, None, head=0)
    stream = connection.stream()
    greeting, first = await anext(stream), await anext(stream)
    connection.end()
    await cast("Any", stream).aclose()

    assert b"event: connected" in greeting
    assert first.startswith(b"id: log1.1\n")
