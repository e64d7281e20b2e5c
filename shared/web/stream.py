"""Responses that go on for hours, told piece by piece, and written as cheaply as the server allows.

A speaker decides what comes next; whoever writes asks it for as much as the client takes. There are two
writers. Where the server offers to hand the socket over, a `Wire` writes to it, and nothing else of
the request is left. Everywhere else the pieces are an ordinary ASGI body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol

from quart import Response, request
from quart.wrappers.response import ResponseBody

# One write to a socket carries at most about this much, so that a long backlog yields to others.
WRITE_BYTES = 64 * 1024

EXTENSION = "carillon.stream"
"""In `scope["extensions"]`: the server can hand the socket of this request over, with `TAKE_OVER`."""
TAKE_OVER = "take_over"


class Piece(bytes):
    """Part of a body. What thousands of clients are sent is one piece, framed for HTTP/1.1 once."""

    @cached_property
    def chunk(self) -> bytes:
        """As a chunk (RFC 9112, section 7.1)."""
        return b"%x\r\n%b\r\n" % (len(self), self)


class Speaker(Protocol):
    """What one response has to say. Nothing in here waits."""

    def opened(self, wake: Callable[[], None]) -> None:
        """The response has begun; from now on `wake` is called whenever there may be more to take."""

    def take(self, max_bytes: int) -> Sequence[Piece]:
        """What is due, up to about `max_bytes`; it counts as sent. Nothing where nothing is due."""

    @property
    def is_over(self) -> bool:
        """Whether all has been taken that there will ever be."""

    def end(self) -> None:
        """The response has ended, at whichever end; safe to call twice."""


TakeOver = Callable[[Speaker], bool]
"""Hands the socket to a writer of this speaker; False where the client has gone.

To be called once the response's head was sent, which says that the connection closes after it.
"""


def stream_response(
    speaker: Speaker, headers: Mapping[str, str], compress: Callable[[bytes], bytes] | None = None
) -> Response:
    """The answer to the current request that tells all that the speaker has to say.

    Args:
        compress: one write -> its bytes in the coding that `headers` name, flushed.
    """
    take_over = _offered() if compress is None else None
    response = Response(StreamBody(speaker, take_over, compress), headers=dict(headers))
    if take_over is not None:
        response.headers["Connection"] = "close"
    # Quart would end every response after a minute.
    response.timeout = None
    return response


def _offered() -> TakeOver | None:
    scope: Any = request.scope
    offer: TakeOver | None = (scope["extensions"] or {}).get(EXTENSION, {}).get(TAKE_OVER)
    return offer


class StreamBody(ResponseBody):
    """A speaker as the body of a Quart response: however the response ends, the speaker does."""

    def __init__(
        self, speaker: Speaker, take_over: TakeOver | None, compress: Callable[[bytes], bytes] | None = None
    ) -> None:
        self._speaker, self._take_over, self._compress = speaker, take_over, compress
        self._is_handed_over = False

    async def __aenter__(self) -> AsyncIterator[bytes]:
        if self._take_over is None:
            return asgi_body(self._speaker, self._compress)
        self._is_handed_over = self._take_over(self._speaker)
        return _nothing()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._is_handed_over:
            self._speaker.end()


async def asgi_body(speaker: Speaker, compress: Callable[[bytes], bytes] | None = None) -> AsyncIterator[bytes]:
    """The speaker's pieces, joined where several are due; each item is one write."""
    more = asyncio.Event()
    speaker.opened(more.set)
    while not speaker.is_over:
        if due := speaker.take(WRITE_BYTES):
            write = b"".join(due)
            yield write if compress is None else compress(write)
        else:
            await more.wait()
            more.clear()


async def _nothing() -> AsyncIterator[bytes]:
    """The body of a response whose socket is somebody else's."""
    return
    yield b""
