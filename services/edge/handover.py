"""From the backlog to live without gap or repeat: what one connection may send next. Pure.

Bind first, then read the log, then go live. Whatever was dispatched before the binding was in the
log before the read; whatever is dispatched after it arrives live. So the log up to the head of a
read that began after the binding, and the live entries above it, are together complete.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from enum import Enum, auto
from itertools import accumulate
from typing import Generic, TypeVar

from services.edge.frames import ResetReason
from shared.model.cursor import Cursor
from shared.model.entry import Head
from shared.model.errors import InvalidCursor

EARLIEST = "earliest"

Frame = TypeVar("Frame", bound=bytes)


class Offer(Enum):
    """What became of a live frame."""

    KEPT = auto()
    DROPPED = auto()
    """A repeat, or one that the next read of the log brings."""
    OVERFLOW = auto()
    """The reader is too slow: nothing is kept, cut it."""


class Handover(Generic[Frame]):
    """Holds the live frames of one connection until they are due, within bounds."""

    __slots__ = ("_bound", "_bytes", "_frames", "_incomplete", "_last", "_max_bytes", "_max_frames",
                 "_passed", "_positions", "_read_is_due", "behind", "sent")  # fmt: skip

    def __init__(self, after: int, max_frames: int, max_bytes: int, *, behind: bool) -> None:
        self.sent = after
        """Everything at or below has been handed to the client, or does not concern it."""
        self.behind = behind
        """Whether the log must be read before a live frame may be sent."""
        self._max_frames, self._max_bytes = max_frames, max_bytes
        # Lists, for an idle connection: an empty deque takes 760 bytes.
        self._positions: list[int] = []
        self._frames: list[Frame] = []
        self._bytes = 0
        self._last = self._passed = after
        self._bound = True
        self._incomplete = False
        self._read_is_due = behind

    def offer(self, position: int, frame: Frame) -> Offer:
        """Takes a live frame. Positions at or below the last one are repeats of the dispatch."""
        if position <= self._last or position <= self.sent:
            return Offer.DROPPED
        if len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            return self._overflow()
        self._last = position
        self._positions.append(position)
        self._frames.append(frame)
        self._bytes += len(frame)
        return Offer.KEPT

    def bound(self, is_bound: bool) -> None:
        """Whether the feed brings every entry from now on.

        Once it does not, it may have missed some: what is waiting is forgotten, and the log is read
        again, also after the feed is back.
        """
        if not is_bound:
            self._clear()
            self.behind = self._incomplete = True
            self._passed = self.sent
        self._bound = is_bound
        self._read_is_due = self.behind

    @property
    def must_read(self) -> bool:
        """Whether reading the log now brings the stream forward."""
        return self.behind and self._read_is_due

    def begin_read(self) -> int:
        """Call when a read of the log begins; returns the position to read after."""
        self._incomplete = not self._bound
        return self.sent

    def end_read(self, through: int, *, at_head: bool) -> None:
        """The read has brought everything at or below `through`; goes live once nothing is missing."""
        # At the head without a feed there is nothing to read before the feed is back.
        self._read_is_due = self._bound or not at_head
        self.sent = max(self.sent, through)
        self._pop(bisect_right(self._positions, self.sent))
        if at_head and not self._incomplete:
            self.behind = False

    def passed(self, position: int) -> None:
        """Every live frame at or below `position` has been offered. Ignored while behind: the log knows better."""
        if not self.behind:
            self._passed = max(self._passed, position)

    @property
    def progress(self) -> int:
        """Up to where nothing is left to send: `sent`, or farther where all that came later was for others."""
        return self.sent if self._frames or self.behind else max(self.sent, self._passed)

    def take(self, max_bytes: int) -> list[Frame]:
        """The live frames that are due, up to about `max_bytes`; none while behind."""
        if self.behind or not self._frames:
            return []
        if self._bytes > max_bytes:
            count = self._count_within(max_bytes)
            self.sent = self._positions[count - 1]
            return self._pop(count)
        due, self._frames = self._frames, []
        self.sent, self._bytes = self._positions[-1], 0
        self._positions.clear()
        return due

    def _count_within(self, max_bytes: int) -> int:
        """How many frames it takes to reach `max_bytes`."""
        return bisect_left(list(accumulate(map(len, self._frames))), max_bytes) + 1

    def _pop(self, count: int) -> list[Frame]:
        popped = self._frames[:count]
        del self._frames[:count], self._positions[:count]
        self._bytes -= sum(map(len, popped))
        return popped

    def _overflow(self) -> Offer:
        self._clear()
        if not self.behind:
            return Offer.OVERFLOW
        # What is dropped here was in the log before it came: a read that begins from now on has it.
        self._incomplete = True
        return Offer.DROPPED

    def _clear(self) -> None:
        self._frames.clear()
        self._positions.clear()
        self._bytes, self._last = 0, self.sent


def start_after(requested: str | None, head: Head) -> tuple[int, ResetReason | None]:
    """Where a stream begins: (position to go on after, why it is not the one asked for).

    None asks for what comes from now on, `earliest` for all the history that is kept.
    """
    if requested is None:
        return head.last, None
    if requested == EARLIEST:
        return head.floor, None
    try:
        cursor = Cursor.parse(requested)
    except InvalidCursor:
        return head.last, ResetReason.UNREADABLE
    if cursor.log_id != head.log_id:
        return head.last, ResetReason.OTHER_LOG
    if cursor.position > head.last:
        return head.last, ResetReason.AHEAD
    if cursor.position < head.floor:
        return head.last, ResetReason.TRIMMED
    return cursor.position, None
