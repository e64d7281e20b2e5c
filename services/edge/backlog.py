"""What one connection reads from the log until it is live: a page at a time, as fast as its client takes it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable

from services.edge.frames import EventFrame
from services.edge.handover import Handover
from shared.model.entry import Entry, Page
from shared.model.errors import LogUnavailable

log = logging.getLogger(__name__)

# How soon a log that did not answer is asked again; jittered over the connections that wait.
READ_AGAIN_S = 1.0


class Backlog:
    """One handover's reads; it lives for as long as they must go on.

    Args:
        connection_id: whose, for logs.
        read: (position to read after) -> a page of the log. Raises `LogUnavailable`.
        shown: the entry's frame; None where the client does not get to see it.
        wake: called when there is something to take.
    """

    __slots__ = ("_connection_id", "_entries", "_handover", "_has_stopped", "_page", "_read", "_reading", "_shown",
                 "_wake")  # fmt: skip

    def __init__(
        self,
        connection_id: str,
        handover: Handover[EventFrame],
        read: Callable[[int], Awaitable[Page]],
        shown: Callable[[Entry], EventFrame | None],
        wake: Callable[[], None],
    ) -> None:
        self._connection_id, self._handover = connection_id, handover
        self._read, self._shown, self._wake = read, shown, wake
        self._reading: asyncio.Task[Page | None] | None = None
        self._page: Page | None = None
        self._entries: deque[Entry] = deque()
        self._has_stopped = False

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to read any more, or nothing before the feed is back."""
        return self._page is None and self._reading is None and not self._handover.must_read

    def take(self, max_bytes: int) -> list[EventFrame]:
        """What was read and is due, up to about `max_bytes`. Reads on, and wakes, where that was all."""
        if self._reading is not None and self._reading.done():
            self._page, self._reading = self._reading.result(), None
            self._entries.extend(self._page.entries if self._page is not None else ())
        due = self._due(max_bytes)
        if self._has_stopped:
            return due
        if self._page is not None and not self._entries:
            self._handover.end_read(self._page.through, at_head=self._page.at_head)
            self._page = None
        if self._page is None and self._reading is None and self._handover.must_read:
            self._begin()
        return due

    def stop(self) -> None:
        """Reads no more, and takes what was read for unread."""
        self._has_stopped = True
        if self._reading is not None:
            self._reading.cancel()

    def _due(self, max_bytes: int) -> list[EventFrame]:
        due: list[EventFrame] = []
        size = 0
        while self._entries and size < max_bytes and not self._has_stopped:
            if (frame := self._shown(self._entries.popleft())) is not None:
                due.append(frame)
                size += len(frame)
        return due

    def _begin(self) -> None:
        # In a context of its own: that of the request would keep all of the request for as long.
        self._reading = asyncio.get_running_loop().create_task(
            self._page_after(self._handover.begin_read()), name="edge-backlog", context=contextvars.Context()
        )
        self._reading.add_done_callback(self._read_ended)

    async def _page_after(self, position: int) -> Page | None:
        """None, after a pause, where the log did not answer."""
        try:
            return await self._read(position)
        except LogUnavailable as trouble:
            log.info("backlog waits: %s", trouble, extra={"connection": self._connection_id})
            await asyncio.sleep(READ_AGAIN_S * random.uniform(0.5, 1.5))
            return None

    def _read_ended(self, reading: asyncio.Task[Page | None]) -> None:
        if not reading.cancelled():
            self._wake()
