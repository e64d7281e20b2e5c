"""The live islands of pages: pieces of HTML over event streams, drawn here and put in place there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from quart import Response, stream_with_context

from services.console.gate import operator
from shared.model.errors import Busy, Unavailable

# Pages that operators have open; each is a small question to the backends every second or two.
MAX_ISLANDS = 100
# A proxy in between must not take quiet for dead.
QUIET_MAX_S = 10.0
RETRY_MS = 2000
LIVE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # nginx buffers responses unless the response itself asks it not to.
    "X-Accel-Buffering": "no",
}


class Islands:
    """All islands that this process keeps up to date; they end with it, and with the session of who looks."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping, self._open = stopping, 0

    def island(
        self, draw: Callable[[], Awaitable[str]], every_s: float, place: Callable[[], int] | None = None
    ) -> Response:
        """Says what `draw` returns whenever that is something else than before; empty is nothing. Raises `Busy`.

        Args:
            place: how far the last drawing went; a browser that opens a broken stream again sends it as Last-Event-ID.
        """
        if self._open >= MAX_ISLANDS:
            raise Busy("as many live pages are open as this console serves")
        pieces = stream_with_context(self._pieces)(draw, every_s, place, operator().ends_at)
        response = Response(pieces, headers=dict(LIVE_HEADERS))
        # Quart would end every response after a minute.
        response.timeout = None
        return response

    async def _pieces(
        self, draw: Callable[[], Awaitable[str]], every_s: float, place: Callable[[], int] | None, until: float
    ) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            before, quiet_s = "", 0.0
            while not self._stopping.is_set() and time.time() < until:
                with suppress(Unavailable):
                    if (html := await draw()) and html != before:
                        yield frame(html, place and place())
                        before, quiet_s = html, 0.0
                quiet_s += every_s
                if quiet_s >= QUIET_MAX_S:
                    yield b":\n\n"
                    quiet_s = 0.0
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), every_s)
        finally:
            self._open -= 1


def frame(html: str, id_: int | None = None) -> bytes:
    """One event of the stream; every line end that a browser knows begins a new field."""
    head = "" if id_ is None else f"id: {id_}\n"
    return (head + "".join(f"data: {line}\n" for line in html.splitlines()) + "\n").encode()
