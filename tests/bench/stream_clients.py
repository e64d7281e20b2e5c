"""A process full of stream clients, cheap enough to measure the edge and not themselves.

Started by `streams.Streams`. Commands come as JSON lines on standard input, answers go out as JSON
lines; the end of the input is the end of the process. Times are of the monotonic clock, which on
Linux is one for all processes.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from functools import partial
from typing import Any, cast

import uvloop

# `retry:` and `connected`, with which every stream begins.
GREETING_FRAMES = 2
_EVENT_ID = re.compile(rb'"id":"(\d+)"')


class Stream(asyncio.Protocol):
    """One open response. It counts the empty lines that end frames, and looks at nothing else."""

    def __init__(self, clients: Clients, request: bytes) -> None:
        self._clients, self._request = clients, request
        self._half_ended = False
        self.frames = -GREETING_FRAMES
        self.is_open = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        ended = data.count(b"\n\n") + (self._half_ended and data.startswith(b"\n"))
        self._half_ended = data.endswith(b"\n") and not data.endswith(b"\n\n")
        if not self.is_open and not data.startswith(b"HTTP/1.1 200"):
            self._clients.fail(f"a stream was refused: {data[:300]!r}")
        self.is_open = True
        before, self.frames = self.frames, self.frames + ended
        if before < 0 <= self.frames:
            self._clients.greeted()
        self._clients.received(max(0, self.frames) - max(0, before), data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.fail(f"a stream ended after {self.frames} frames: {exc!r}")


class Clients:
    """All streams of this process."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []
        self._stamps: dict[int, float] | None = None
        self._count = self._awaited = self._to_greet = 0
        self._first = 0.0
        self._closing = False

    async def do(self, do: str, **arguments: Any) -> None:
        """Carries out one command."""
        await getattr(self, f"do_{do}")(**arguments)

    async def do_open(self, port: int, cookies: list[str], last_event_id: str | None) -> None:
        """Opens a stream for each cookie, all at once; answers when each has been greeted."""
        self._to_greet += len(cookies)
        loop = asyncio.get_running_loop()
        resume = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        for cookie in cookies:
            request = f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n{resume}\r\n".encode()
            self._streams.append(Stream(self, request))
        opened = self._streams[-len(cookies) :]
        await asyncio.gather(
            *(loop.create_connection(partial(_itself, stream), "127.0.0.1", port) for stream in opened)
        )

    async def do_expect(self, frames: int, stamped: bool) -> None:
        """Counts from here on; tells when `frames` event frames have come in all."""
        self._count, self._awaited, self._first = 0, frames, 0.0
        self._stamps = {} if stamped else None
        tell(expecting=frames)

    async def do_counts(self) -> None:
        """The least and the most event frames that a stream has received since it was opened."""
        counts = [stream.frames for stream in self._streams]
        tell(least=min(counts), most=max(counts))

    async def do_stall(self) -> None:
        """Reads nothing more."""
        self._closing = True
        for stream in self._streams:
            if stream.transport is not None:
                stream.transport.pause_reading()
        tell(stalled=True)

    async def do_close(self) -> None:
        """Ends all streams without a word, as a browser does."""
        self._closing = True
        for stream in self._streams:
            if stream.transport is not None:
                stream.transport.abort()
        await asyncio.sleep(0)
        self._streams, self._closing = [], False
        tell(closed=True)

    def greeted(self) -> None:
        self._to_greet -= 1
        if not self._to_greet:
            tell(greeted=time.monotonic())

    def received(self, frames: int, data: bytes) -> None:
        if frames and not self._count:
            self._first = time.monotonic()
        before, self._count = self._count, self._count + frames
        if self._stamps is not None:
            now = time.monotonic()
            self._stamps |= {int(found): now for found in _EVENT_ID.findall(data)}
        if before < self._awaited <= self._count:
            tell(first=self._first, last=time.monotonic(), frames=self._count, stamps=self._stamps)

    def fail(self, problem: str) -> None:
        if not self._closing:
            tell(failed=problem)


def _itself(stream: Stream) -> Stream:
    return stream


def tell(**answer: object) -> None:
    """One line to the process that asked."""
    print(json.dumps(answer), flush=True)


async def main() -> None:
    """Does as it is told until the input ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    clients = Clients()
    loop.set_exception_handler(lambda _, context: clients.fail(repr(context)))
    while line := await commands.readline():
        await clients.do(**json.loads(line))


if __name__ == "__main__":
    uvloop.run(main())
