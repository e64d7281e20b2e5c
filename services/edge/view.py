"""What one connection is shown of its session's slice of the log, and how."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.edge.handover import start_after

if TYPE_CHECKING:
    import asyncio

    from services.edge.frames import CloseReason, EventFrame, ResetReason
    from services.edge.selection import Selection
    from shared.model.entry import Entry, Head


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins."""

    after: int
    """The position above which it brings entries."""
    reset: ResetReason | None = None
    opening: bytes = b""
    """Frames that come before any entry."""


class Viewed(Protocol):
    """What a view may ask of its connection."""

    def close(self, reason: CloseReason) -> None: ...

    def after(self, seconds: float, do: Callable[[], None]) -> asyncio.TimerHandle: ...

    def noticed(self) -> None:
        """The view has something to say: see `View.notice`."""


class View:
    """All types that were selected, from the cursor on. Nothing in here waits, but `open`."""

    __slots__ = ("_selection",)

    takes_news = True
    """Whether the client is told what else changes for its user, such as the counts of the inbox."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    async def open(self, tags: Collection[str], head: Head) -> Start:
        """Where to begin, once the connection's tags are bound; `head` was read after that."""
        return Start(*start_after(self._selection.cursor, head))

    def begin(self, connection: Viewed) -> None:
        """The stream is open."""

    def shows(self, entry: Entry) -> bool:
        """Whether the client gets to see the entry. It may be asked twice."""
        return self._selection.types is None or self._selection.types.wants(entry.type)

    def framed(self, entry: Entry, frame: EventFrame) -> EventFrame:
        """The frame as it is sent."""
        return frame.unnamed if self._selection.unnamed else frame

    def notice(self) -> bytes:
        """What is to be said between entries."""
        return b""

    def is_complete(self, sent: int) -> bool:
        """Whether the stream ends by itself, when everything at or below `sent` has been sent."""
        return False

    def end(self) -> None:
        """The connection has ended; safe to call twice."""


class PrefixView(View):
    """Only the streams whose subjects begin with a prefix."""

    __slots__ = ("_prefix",)
    takes_news = False

    def __init__(self, selection: Selection, prefix: str) -> None:
        super().__init__(selection)
        self._prefix = prefix

    def shows(self, entry: Entry) -> bool:
        return entry.subject is not None and entry.subject.startswith(self._prefix) and super().shows(entry)
