"""A stream of one subject: its state first, then each event, and after the last one the end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from services.edge import frames
from services.edge.frames import CloseReason
from services.edge.view import Start, View, Viewed
from shared.folds.streams import ending
from shared.model.cursor import Cursor
from shared.model.errors import CarillonError, InvalidCursor

if TYPE_CHECKING:
    from services.edge.frames import EventFrame
    from services.edge.selection import Selection
    from services.edge.subjects import Snapshot, Subjects
    from shared.model.entry import Entry, Head
    from shared.model.settings import Settings


class NoStream(CarillonError):
    """There is a stream of this subject, and the session may see none of its events."""


class AlreadyEnded(CarillonError):
    """The client has been told that the stream ended."""


class SubjectView(View):
    """One stream. It ends by itself; while its producer is silent, it says so."""

    __slots__ = ("_connection", "_ended_at", "_is_begun", "_quiet_since", "_settings", "_stale_due",
                 "_subject", "_subjects", "_timer")  # fmt: skip
    takes_news = False

    def __init__(self, selection: Selection, subject: str, subjects: Subjects, settings: Settings) -> None:
        super().__init__(selection)
        self._subject, self._subjects, self._settings = subject, subjects, settings
        self._connection: Viewed | None = None
        self._ended_at: int | None = None
        self._is_begun = self._stale_due = False
        self._quiet_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, tags: Collection[str], head: Head) -> Start:
        """Raises `NoStream`, `AlreadyEnded`, `LogUnavailable`, `ModelMissing`."""
        found = await self._subjects.snapshot(self._subject, tags)
        stream, after = found.stream, found.head.last
        if found.is_known and not stream.version:
            raise NoStream(self._subject)
        self._is_begun = stream.version > 0
        opening = frames.snapshot(found.document(), found.cursor)
        if stream.ended_at is not None:
            if self._was_told(found, stream.ended_at):
                raise AlreadyEnded(self._subject)
            # What comes after the end belongs to nobody's view of it.
            self._ended_at = after
            opening += frames.end(stream.status, stream.version)
        return Start(after, opening=opening)

    def _was_told(self, found: Snapshot, ended_at: int) -> bool:
        """Whether the client's cursor says that it has seen the end."""
        try:
            cursor = Cursor.parse(self._selection.cursor or "")
        except InvalidCursor:
            return False
        return cursor.log_id == found.head.log_id and cursor.position >= ended_at

    def begin(self, connection: Viewed) -> None:
        self._connection = connection
        self._quiet_since = asyncio.get_running_loop().time()
        self._wait_on()

    def shows(self, entry: Entry) -> bool:
        if entry.subject != self._subject or (self._ended_at is not None and entry.position > self._ended_at):
            return False
        self._is_begun, self._quiet_since = True, asyncio.get_running_loop().time()
        return True

    def framed(self, entry: Entry, frame: EventFrame) -> EventFrame:
        shown = super().framed(entry, frame)
        status = ending(entry)
        if status is None:
            return shown
        self._ended_at = entry.position
        return shown.followed_by(frames.end(status, entry.version or 0))

    def notice(self) -> bytes:
        if not self._stale_due:
            return b""
        self._stale_due = False
        return frames.stale(int(asyncio.get_running_loop().time() - self._quiet_since))

    def is_complete(self, sent: int) -> bool:
        return self._ended_at is not None and sent >= self._ended_at

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection = None

    def _wait_on(self) -> None:
        """For the next event, or for the first: both in time, or it is said that none came."""
        if self._connection is not None:
            limit_s = self._settings.stale_s if self._is_begun else self._settings.stream_wait_s
            quiet_s = asyncio.get_running_loop().time() - self._quiet_since
            left_s = limit_s - quiet_s % limit_s if self._is_begun else max(0.0, limit_s - quiet_s)
            self._timer = self._connection.after(left_s, self._looked)

    def _looked(self) -> None:
        if self._connection is None:
            return
        quiet_s = asyncio.get_running_loop().time() - self._quiet_since
        if not self._is_begun and quiet_s >= self._settings.stream_wait_s:
            self._connection.close(CloseReason.NOT_BEGUN)
            return
        if self._is_begun and quiet_s >= self._settings.stale_s:
            self._stale_due = True
            self._connection.noticed()
        self._wait_on()
