"""The newest rows of the durable queue, kept in memory so that the hot path reads no disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

Row = tuple[int, bytes]
"""A receipt and the body stored under it."""


class Tail:
    """Every row above `after`, unless the bound or a doubt made it forget; then it says so.

    Pure: no clock, no I/O. Rows come in with rising receipts and leave when they are taken.
    """

    def __init__(self, after: int, max_bytes: int) -> None:
        self.after = after
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._rows: deque[Row] = deque()

    def add(self, rows: Sequence[Row]) -> None:
        """Takes in rows just stored; over the bound the oldest are left to the disk."""
        self._rows.extend(rows)
        self._size_bytes += sum(len(body) for _, body in rows)
        while self._size_bytes > self._max_bytes:
            self._drop()

    def take(self, after: int, limit: int) -> list[Row] | None:
        """The next rows above `after`; None where only the disk knows all of them."""
        if after < self.after:
            return None
        while self._rows and self._rows[0][0] <= after:
            self._drop()
        return [self._drop() for _ in range(min(limit, len(self._rows)))]

    def forget(self, through: int) -> None:
        """Leaves everything at or below `through` to the disk: whether it is stored is in doubt."""
        self._rows.clear()
        self._size_bytes = 0
        self.after = max(self.after, through)

    def _drop(self) -> Row:
        row = self._rows.popleft()
        self._size_bytes -= len(row[1])
        self.after = row[0]
        return row
