"""A real HTTP server of a few lines that serves the golden streams, cut as the test wants them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.golden.frames import golden_bytes

_REQUEST = re.compile(rb"GET /(?:(?P<cut>\d+)/(?P<name>[a-z-]+))?\S* HTTP/1.1\r\n")
_LAST_EVENT_ID = re.compile(rb"\r\nlast-event-id: *([^\r]*)\r\n", re.IGNORECASE)


class StreamServer:
    """`/<bytes of a chunk, or 0 for one chunk>/<case>?<client>`: the case at first, 204 to who comes back."""

    def __init__(self) -> None:
        self.port = 0
        self.came_back_with: dict[str, str | None] = {}
        """`Last-Event-ID` by path."""
        self._served: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer(head))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        request = _REQUEST.match(head)
        path = head.split(b" ", 2)[1].decode()
        if request is None or request["name"] is None:
            return _response("200 OK", "text/html", b"<!doctype html><title>streams</title>", 0)
        if path in self._served:
            came = _LAST_EVENT_ID.search(head)
            self.came_back_with[path] = came[1].decode() if came else None
            return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        self._served.add(path)
        name, cut = request["name"].decode(), int(request["cut"])
        return _response("200 OK", "text/event-stream; charset=utf-8", golden_bytes(name), cut)


def _response(status: str, content_type: str, body: bytes, cut: int) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    size = cut or len(body)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@asynccontextmanager
async def stream_server() -> AsyncIterator[StreamServer]:
    """Listens on a free loopback port until it is left."""
    serves = StreamServer()
    listening = await asyncio.start_server(serves.answer, "127.0.0.1", 0)
    serves.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield serves
