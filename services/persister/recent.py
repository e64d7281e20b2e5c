"""The newest entries, kept by the process that has appended them: its followers need not read them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.model.entry import Entry, Head, Page

if TYPE_CHECKING:
    from services.persister.tenure import Tenure
    from shared.ports.event_log import EventLog

# Several seconds at full speed; a follower that is farther behind reads pages anyway.
RECENT_MAX_BYTES = 16 * 1024 * 1024
# Of Python's objects, beside the text that they hold: an entry with its strings, and a tag.
ENTRY_BYTES, TAG_BYTES = 700, 60


class Recent:
    """An unbroken run of entries up to the last one added. Pure.

    Bounded by what they take in memory: the oldest go first.
    """

    def __init__(self, max_bytes: int = RECENT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[int, Entry] = {}
        self._size_bytes = 0
        self._last = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """Takes in what was appended; where it does not follow the last entry, what was kept is forgotten."""
        if entries and entries[0].position != self._last + 1:
            self.forget()
        for entry in entries:
            self._entries[entry.position] = entry
            self._size_bytes += _size_bytes(entry)
            self._last = entry.position
        while self._size_bytes > self._max_bytes:
            self._size_bytes -= _size_bytes(self._entries.pop(next(iter(self._entries))))

    def after(self, position: int, limit: int) -> Sequence[Entry]:
        """The next entries above `position`; none where only the log knows."""
        if position + 1 not in self._entries:
            return []
        return [self._entries[at] for at in range(position + 1, min(position + limit, self._last) + 1)]

    def forget(self) -> None:
        """Leaves everything to the log."""
        self._entries.clear()
        self._size_bytes = 0


def _size_bytes(entry: Entry) -> int:
    """About what it takes: an audience may be a thousand times as large as its event."""
    return ENTRY_BYTES + len(entry.event) + sum(map(len, entry.audience)) + TAG_BYTES * len(entry.audience)


class RecentLog:
    """The log as a follower in the active persister reads it: once it has come to its end, from memory.

    Whoever begins anew reads the log: what retention has taken from it since must not come back.
    """

    def __init__(self, event_log: EventLog, tenure: Tenure) -> None:
        self._log, self._tenure = event_log, tenure
        self._head: Head | None = None

    async def read(self, after: int, limit: int) -> Page:
        """As `EventLog.read`. Raises `LogUnavailable`."""
        head = self._head
        if head is not None and after >= head.last and (entries := self._tenure.recent.after(after, limit)):
            return Page(entries, entries[-1].position, replace(head, last=self._tenure.last))
        page = await self._log.read(after, limit)
        self._head = page.head
        return page
