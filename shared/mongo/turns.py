"""Many readers at once: who waits for a turn, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.model.errors import LogUnavailable

# As many as Motor has threads on two cores; more would wait inside it, on their own time.
READS_AT_ONCE = 10


class Turns:
    """Lets a few calls through at once. The others wait as long as calls succeed.

    When ten thousand users come back after a break, the last of their reads begins long after its
    caller asked, and must not count that as the server's silence. When the server is really silent,
    those who wait fail with the first that found out, not one after the other.
    """

    def __init__(self, at_once: int = READS_AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._trouble: str | None = None

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Waits for a turn. Raises `LogUnavailable` when the call before found the server silent."""
        has_to_wait = self._places.locked()
        async with self._places:
            if has_to_wait and self._trouble is not None:
                raise LogUnavailable(self._trouble)
            try:
                yield
            except LogUnavailable as unavailable:
                self._trouble = unavailable.detail
                raise
            self._trouble = None
