"""The same stream by other means, as a process: `python -m tests.bench.rival bare|starlette PORT USERS`.

Both take the entries that the edge takes, from one queue on the same RabbitMQ, and send the same
frames to the same users, u0 and on. Neither verifies a session, resumes, bounds, cuts or drains: they
are what the edge's frames cost at the least, and what they would cost the usual way.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, Generic, TypeVar, cast

import uvloop

from services.edge import frames
from shared.model.entry import Entry
from shared.model.settings import Settings
from shared.model.tags import EVERYONE, user_tag
from shared.rabbit.broker import open_broker

Stream = TypeVar("Stream")

READY = "ready"
BACKLOG = 4096
RETRY_MS = 2000
# As the edge is told to, so that no run counts one: a ping is a frame of its own.
HEARTBEAT_S = 300
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def cursor(position: int) -> str:
    """As long as a real one."""
    return f"0123456789ab.{position}"


def user_of(cookie: str) -> str:
    """Who a session cookie is of, believed as it stands."""
    payload = cookie.partition("=")[2].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])


class Audience(Generic[Stream]):
    """Who is there, by user."""

    def __init__(self) -> None:
        self._of: defaultdict[str, set[Stream]] = defaultdict(set)

    def add(self, user: str, stream: Stream) -> None:
        self._of[EVERYONE].add(stream)
        self._of[user_tag(user)].add(stream)

    def discard(self, user: str, stream: Stream) -> None:
        self._of[EVERYONE].discard(stream)
        self._of[user_tag(user)].discard(stream)

    def of(self, entry: Entry) -> Iterator[Stream]:
        return chain.from_iterable(self._of.get(tag, ()) for tag in entry.audience)


@asynccontextmanager
async def feed(on_entry: Callable[[Entry], None], users: int) -> AsyncIterator[None]:
    """Calls `on_entry` for everything to everyone and to the users, as one edge would receive it."""
    async with open_broker(Settings.load()) as broker:
        opened = await broker.open_feed(on_entry, lambda reason: sys.exit(f"the feed was lost: {reason}"))
        await opened.bind([EVERYONE, *(user_tag(f"u{number}") for number in range(users))])
        yield
        await opened.close()


# A bare protocol: one write to each socket, of bytes that were made once.


class BareStream(asyncio.Protocol):
    """One response that never ends."""

    def __init__(self, audience: Audience[BareStream]) -> None:
        self._audience = audience
        self._user = ""
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):
            return
        [cookie] = [line for line in self._received.decode().split("\r\n") if line.startswith("Cookie: ")]
        self._user, self._received = user_of(cookie), b""
        greeting = frames.retry(RETRY_MS) + frames.connected(cursor(0), {})
        self.transport.write(HEAD + chunk(greeting))
        self._audience.add(self._user, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._audience.discard(self._user, self)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


async def bare(port: int, users: int) -> None:
    audience: Audience[BareStream] = Audience()

    def send(entry: Entry) -> None:
        written = chunk(frames.frame(entry.type, entry.event, cursor(entry.position)))
        for stream in audience.of(entry):
            stream.transport.write(written)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareStream(audience), "127.0.0.1", port, backlog=BACKLOG)
    async with feed(send, users), server:
        print(READY, flush=True)
        await server.serve_forever()


# Starlette with sse-starlette on uvicorn, as their documentation shows it: a generator and a queue a client.


async def starlette(port: int, users: int) -> None:
    import uvicorn
    from sse_starlette import EventSourceResponse, ServerSentEvent
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    audience: Audience[asyncio.Queue[Entry]] = Audience()

    def send(entry: Entry) -> None:
        for queue in audience.of(entry):
            queue.put_nowait(entry)

    async def stream(user: str) -> AsyncIterator[Any]:
        queue: asyncio.Queue[Entry] = asyncio.Queue()
        audience.add(user, queue)
        try:
            yield ServerSentEvent(retry=RETRY_MS, sep="\n")
            yield ServerSentEvent("{}", event="connected", id=cursor(0), sep="\n")
            while True:
                entry = await queue.get()
                data = entry.event.decode()
                yield ServerSentEvent(data, event=entry.type, id=cursor(entry.position), sep="\n")
        finally:
            audience.discard(user, queue)

    async def events(request: Request) -> EventSourceResponse:
        return EventSourceResponse(stream(user_of(request.headers["Cookie"])), sep="\n", ping=HEARTBEAT_S)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with feed(send, users):
            # The socket listens already: who connects from now on is served.
            print(READY, flush=True)
            yield

    app = Starlette(routes=[Route("/v1/events", events)], lifespan=lifespan)
    config = uvicorn.Config(app, http="httptools", log_level="warning", access_log=False)
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listening:
        await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    uvloop.run({"bare": bare, "starlette": starlette}[sys.argv[1]](*map(int, sys.argv[2:])))
