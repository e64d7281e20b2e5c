"""Streams over real sockets: the same bytes by either writer, whole writes, bounds, and nothing left at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import pytest
from quart import Blueprint, Response

from shared.model.settings import Settings
from shared.web.app import make_app
from shared.web.server import UNSENT_MAX_BYTES
from shared.web.stream import WRITE_BYTES, Piece, stream_response
from shared.web.wire import LAST_CHUNK, UNASKED_MAX_BYTES
from tests.eventually import eventually
from tests.harness import serving as harness

WITHIN_S = 60.0

REQUEST = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
# What asyncio takes before it says that it has enough, one write beyond it, and what the kernel holds at both ends.
RECEIVE_BUFFER_BYTES = 64 * 1024
WAITING_MAX_BYTES = 64 * 1024 + WRITE_BYTES + 10 * UNSENT_MAX_BYTES


@dataclass
class Told:
    """A speaker of what a test gives it."""

    pieces: list[Piece] = field(default_factory=list)
    wake: Callable[[], None] = lambda: None
    takes: list[int] = field(default_factory=list)
    """The bytes of each take that found something."""
    ends: int = 0
    is_finished: bool = False
    failing: bool = False

    def tell(self, *texts: bytes) -> None:
        for text in texts:
            self.pieces.append(Piece(text))
            self.wake()

    def finish(self) -> None:
        self.is_finished = True
        self.wake()

    @property
    def is_over(self) -> bool:
        return self.is_finished and not self.pieces

    def opened(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def take(self, max_bytes: int) -> Sequence[Piece]:
        if self.failing:
            raise ValueError("a fault of ours")
        due: list[Piece] = []
        while self.pieces and sum(map(len, due)) < max_bytes:
            due.append(self.pieces.pop(0))
        if due:
            self.takes.append(sum(map(len, due)))
        return due

    def end(self) -> None:
        self.ends += 1


@dataclass
class Server:
    port: int
    stopping: asyncio.Event
    speakers: list[Told]

    @asynccontextmanager
    async def open(self, request: bytes = REQUEST) -> AsyncIterator[tuple[Client, Told]]:
        """A stream, once its head has arrived."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
            yield Client(reader, writer, head), self.speakers[-1]
        finally:
            writer.close()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes

    async def rest(self) -> bytes:
        """All until the server closes."""
        async with asyncio.timeout(WITHIN_S):
            return await self.reader.read()

    async def chunk(self) -> bytes:
        """The next chunk's text."""
        async with asyncio.timeout(WITHIN_S):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]


@asynccontextmanager
async def serving(grace_s: float = 0.2) -> AsyncIterator[Server]:
    speakers: list[Told] = []
    routes = Blueprint("routes", __name__)

    @routes.get("/stream")
    async def stream() -> Response:
        speakers.append(Told())
        return stream_response(speakers[-1], {"Content-Type": "text/plain"})

    stopping = asyncio.Event()
    app = make_app("test", Settings(), routes, probes={})
    async with harness.serving(app, stopping=stopping, grace_s=grace_s) as port:
        yield Server(port, stopping, speakers)


def body_of(received: bytes) -> bytes:
    """What a strict reader makes of a whole response."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/stream", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(received)
    reader.receive_data(b"")
    body = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert isinstance(reader.next_event(), h11.ConnectionClosed)
    return body


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_either_writer_says_the_same(version: str) -> None:
    """HTTP/1.0 has no chunks, and so gets the ordinary body."""
    texts = [b"one ", b"two ", "drei — ".encode(), b"x" * 200_000]
    request = f"GET /stream HTTP/{version}\r\nHost: x\r\n\r\n".encode()
    async with serving() as server, server.open(request) as (client, speaker):
        speaker.tell(*texts[:3])
        await eventually(lambda: speaker.takes)
        speaker.tell(texts[3])
        speaker.finish()
        assert body_of(client.head + await client.rest()) == b"".join(texts)
    assert speaker.ends == 1
    assert (b"chunked" in client.head) is (version == "1.1")
    assert b"connection: close" in client.head.lower()


async def test_what_comes_together_is_written_together() -> None:
    async with serving() as server, server.open() as (client, speaker):
        speaker.tell(b"a", b"bb", b"ccc")
        assert [await client.chunk() for _ in range(3)] == [b"a", b"bb", b"ccc"]
        assert speaker.takes == [6]


def test_a_piece_is_framed_once_for_all() -> None:
    piece = Piece(b"data: 1\n\n")
    assert piece.chunk == b"9\r\ndata: 1\n\n\r\n"
    assert piece.chunk is piece.chunk


async def test_an_open_stream_is_no_task_and_outlives_the_collector() -> None:
    """Python 3.11.5 closes the transport of a StreamWriter that is collected, and nobody holds ours any more."""
    async with serving() as server, server.open():
        # The server's own are all there by now.
        before = asyncio.all_tasks()
        async with server.open() as (client, speaker):
            await eventually(lambda: asyncio.all_tasks() <= before)
            gc.collect()
            speaker.tell(b"still here")
            assert await client.chunk() == b"still here"


async def test_who_does_not_read_has_little_waiting_and_goes_on_where_it_stopped() -> None:
    texts = [b"%06d" % number * 1000 for number in range(600)]
    loop = asyncio.get_running_loop()
    async with serving() as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, REQUEST)
            await eventually(lambda: server.speakers)
            speaker = server.speakers[0]
            speaker.tell(*texts)
            # A speaker is asked as long as the kernel takes what it gave.
            await stands_still(lambda: len(speaker.takes))
            assert sum(speaker.takes) < WAITING_MAX_BYTES
            assert speaker.pieces
            received = bytearray()
            async with asyncio.timeout(WITHIN_S):
                while len(received) < sum(map(len, texts)):
                    received += await loop.sock_recv(client, 2**20)
                    if not speaker.pieces:
                        speaker.finish()
                while data := await loop.sock_recv(client, 2**20):
                    received += data
    assert body_of(bytes(received)) == b"".join(texts)


async def stands_still(value: Callable[[], int]) -> None:
    """Returns once it has been the same in ten looks, one after the other."""
    seen = [-1] * 10

    def stands() -> bool:
        seen.append(value())
        return len({*seen[-10:]}) == 1

    await eventually(stands)


@pytest.mark.parametrize("how", ["closes", "resets", "ends its half"])
async def test_a_client_that_goes_ends_the_source_once(how: str) -> None:
    async with serving() as server, server.open() as (client, speaker):
        speaker.tell(b"x")
        await client.chunk()
        if how == "closes":
            client.writer.close()
        elif how == "resets":
            client.writer.transport.abort()
        else:
            client.writer.write_eof()
            assert await client.rest() == b""
        await eventually(lambda: speaker.ends)
        speaker.tell(b"nobody hears this")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (speaker.ends, speaker.takes) == (1, [1])


async def test_what_a_client_asks_after_its_stream_is_not_answered() -> None:
    async with serving() as server, server.open(REQUEST + REQUEST) as (client, speaker):
        speaker.tell(b"x")
        speaker.finish()
        assert await client.rest() == b"1\r\nx\r\n" + LAST_CHUNK
        assert len(server.speakers) == 1


async def test_a_client_that_floods_its_stream_is_cut() -> None:
    async with serving() as server, server.open() as (client, speaker):
        client.writer.write(b"x" * (UNASKED_MAX_BYTES + 1))
        await eventually(lambda: speaker.ends)


async def test_streams_that_do_not_end_are_broken_off_after_the_grace_period() -> None:
    async with asyncio.timeout(WITHIN_S), serving(grace_s=0.05) as server, server.open() as (client, speaker):
        speaker.tell(b"x")
        server.stopping.set()
        assert await client.rest() == b"1\r\nx\r\n"
        assert speaker.ends == 1


async def test_streams_that_end_within_the_grace_period_are_waited_for() -> None:
    async with serving(grace_s=WITHIN_S) as server, server.open() as (client, speaker):
        server.stopping.set()
        await eventually(lambda: is_refused(server.port))
        speaker.tell(b"bye")
        speaker.finish()
        assert await client.rest() == b"3\r\nbye\r\n" + LAST_CHUNK


def is_refused(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) != 0


async def test_a_fault_of_ours_breaks_the_stream_off_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server, server.open() as (client, speaker):
        speaker.failing = True
        speaker.tell(b"x")
        assert await client.rest() == b""
        assert speaker.ends == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == ["a stream broke off"]
