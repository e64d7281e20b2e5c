"""The same stream by other means, as a process: `python -m tests.bench.rival bare|starlette PORT`.

Both take the entries that the edge takes, from one queue on the same RabbitMQ, and send the same
frames to everybody who asks. Neither signs in, resumes, bounds, cuts or drains: they are what the
edge's frames cost at the least, and what they would cost the usual way.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import uvloop

from services.edge import frames
from shared.model.entry import Entry
from shared.model.settings import Settings
from shared.model.tags import EVERYONE
from shared.rabbit.broker import open_broker

READY = "ready"
BACKLOG = 4096
RETRY_MS = 2000
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def cursor(position: int) -> str:
    """As long as a real one."""
    return f"0123456789ab.{position}"


@asynccontextmanager
async def feed(on_entry: Callable[[Entry], None]) -> AsyncIterator[None]:
    """Calls `on_entry` for everything to everyone, as one edge would receive it."""
    async with open_broker(Settings.load()) as broker:
        opened = await broker.open_feed(on_entry, lambda reason: sys.exit(f"the feed was lost: {reason}"))
        await opened.bind([EVERYONE])
        yield
        await opened.close()


# A bare protocol: one write to each socket, of bytes that were made once.


class BareStream(asyncio.Protocol):
    """One response that never ends."""

    def __init__(self, streams: set[BareStream]) -> None:
        self._streams = streams
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            greeting = frames.retry(RETRY_MS) + frames.connected(cursor(0), {})
            self.transport.write(HEAD + chunk(greeting))
            self._streams.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.discard(self)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


async def bare(port: int) -> None:
    streams: set[BareStream] = set()

    def send(entry: Entry) -> None:
        written = chunk(frames.frame(entry.type, entry.event, cursor(entry.position)))
        for stream in streams:
            stream.transport.write(written)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareStream(streams), "127.0.0.1", port, backlog=BACKLOG)
    async with feed(send), server:
        print(READY, flush=True)
        await server.serve_forever()


# Starlette with sse-starlette on uvicorn, as their documentation shows it: a generator and a queue a client.


async def starlette(port: int) -> None:
    import uvicorn
    from sse_starlette import EventSourceResponse, ServerSentEvent
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    queues: set[asyncio.Queue[Entry]] = set()

    def send(entry: Entry) -> None:
        for queue in queues:
            queue.put_nowait(entry)

    async def stream() -> AsyncIterator[Any]:
        queue: asyncio.Queue[Entry] = asyncio.Queue()
        queues.add(queue)
        try:
            yield ServerSentEvent(retry=RETRY_MS, sep="\n")
            yield ServerSentEvent("{}", event="connected", id=cursor(0), sep="\n")
            while True:
                entry = await queue.get()
                data = entry.event.decode()
                yield ServerSentEvent(data, event=entry.type, id=cursor(entry.position), sep="\n")
        finally:
            queues.discard(queue)

    async def events(request: Request) -> EventSourceResponse:
        return EventSourceResponse(stream(), sep="\n")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with feed(send):
            # The socket listens already: who connects from now on is served.
            print(READY, flush=True)
            yield

    app = Starlette(routes=[Route("/v1/events", events)], lifespan=lifespan)
    config = uvicorn.Config(app, http="httptools", log_level="warning", access_log=False)
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listening:
        await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    uvloop.run({"bare": bare, "starlette": starlette}[sys.argv[1]](int(sys.argv[2])))
