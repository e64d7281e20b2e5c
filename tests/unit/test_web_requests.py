"""Requests over real sockets, on Hypercorn's connection as ours changes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived
from h2.settings import SettingCodes
from h2.settings import Settings as H2Settings
from quart import Blueprint

from shared.model.settings import Settings
from shared.web import server
from shared.web.app import limited_body, make_app
from shared.web.tcp_server import IdleConnections, TCPServer
from tests.eventually import eventually
from tests.harness import serving as harness

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNK_BYTES = 16 * 1024
# More than kernel and server take together for a client that does not read.
FAR_TOO_MANY = 1024


@dataclass
class Asked:
    """What the application has seen."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    chunks: int = 0


def blueprint(asked: Asked) -> Blueprint:
    routes = Blueprint("routes", __name__)

    @routes.get("/<word>")
    async def say(word: str) -> str:
        return word

    @routes.post("/length")
    async def length() -> str:
        asked.begun.set()
        return str(len(await limited_body(100_000)))

    @routes.get("/stuck")
    async def stuck() -> str:
        asked.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.left.set()
            raise
        return "never"

    @routes.get("/endless")
    async def endless() -> AsyncIterator[bytes]:
        async def chunks() -> AsyncIterator[bytes]:
            while asked.chunks < FAR_TOO_MANY:
                asked.chunks += 1
                yield b"x" * CHUNK_BYTES

        return chunks()

    return routes


@asynccontextmanager
async def serving(asked: Asked | None = None) -> AsyncIterator[tuple[int, asyncio.Event]]:
    stopping = asyncio.Event()
    app = make_app("test", Settings(), blueprint(asked or Asked()), probes={})
    async with harness.serving(app, stopping=stopping, grace_s=30) as port:
        yield port, stopping


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer, which has a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return await reader.readexactly(int(length))


async def test_an_answer_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body were two, and so two packets, of which each woke its client."""
    writes: list[bytes] = []
    write = asyncio.StreamWriter.write

    def noted(self: asyncio.StreamWriter, data: bytes) -> None:
        writes.append(data)
        write(self, data)

    async with asyncio.timeout(60), serving() as (port, _), connected(port) as (reader, writer):
        monkeypatch.setattr(asyncio.StreamWriter, "write", noted)
        writer.write(GET % b"word")
        assert await answer(reader) == b"word"
        assert len(writes) == 2  # the request is the other
        assert writes[1].startswith(b"HTTP/1.1 200")
        assert writes[1].endswith(b"word")


async def test_requests_that_come_together_are_answered_in_their_order() -> None:
    async with asyncio.timeout(60), serving() as (port, _), connected(port) as (reader, writer):
        writer.write(b"".join(GET % word for word in (b"one", b"two", b"three")))
        assert [await answer(reader) for _ in range(3)] == [b"one", b"two", b"three"]


async def test_a_body_that_comes_in_pieces_is_whole() -> None:
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    asked = Asked()
    async with asyncio.timeout(60), serving(asked) as (port, _), connected(port) as (reader, writer):
        # More chunks with the head than Hypercorn's queue would take; the rest once the application waits for it.
        writer.write(head + b"1\r\nx\r\n" * 500)
        await asked.begun.wait()
        for _ in range(500):
            writer.write(b"1\r\nx\r\n")
        writer.write(b"0\r\n\r\n")
        assert await answer(reader) == b"1000"


async def test_who_goes_has_their_request_cancelled() -> None:
    asked = Asked()
    async with asyncio.timeout(60), serving(asked) as (port, _):
        async with connected(port) as (_, writer):
            writer.write(GET % b"stuck")
            await asked.begun.wait()
        await asked.left.wait()


async def test_who_goes_before_all_was_taken_leaves_nothing() -> None:
    """By HTTP/2 the end of an answer waits for the client's window: it waited on when the client had gone."""
    async with asyncio.timeout(60), serving() as (port, _):
        async with connected(port) as (reader, writer):
            writer.write(GET % b"word")
            await answer(reader)
        before = asyncio.all_tasks()
        async with connected(port) as (reader, writer):
            client = H2Connection(H2Configuration(header_encoding="utf-8"))
            client.local_settings = H2Settings(client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: 0})
            client.initiate_connection()
            fields = {":method": "GET", ":path": "/word", ":scheme": "http", ":authority": "x"}
            client.send_headers(1, list(fields.items()), end_stream=True)
            writer.write(client.data_to_send())
            answered = False
            while not answered:
                received = await reader.read(1024)
                assert received, "the server closed"
                events = client.receive_data(received)
                answered = any(isinstance(event, ResponseReceived) for event in events)
        await eventually(lambda: asyncio.all_tasks() <= before, within_s=30)


async def test_who_does_not_read_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, waits = Asked(), False
    drain = asyncio.StreamWriter.drain

    async def noted(self: asyncio.StreamWriter) -> None:
        nonlocal waits
        waits = True
        await drain(self)
        waits = False

    async with asyncio.timeout(60), serving(asked) as (port, _), connected(port) as (reader, writer):
        monkeypatch.setattr(asyncio.StreamWriter, "drain", noted)
        writer.write(GET % b"endless")
        await reader.readuntil(b"\r\n\r\n")
        # Seen by another task it is a wait indeed: a client that reads has it pass at once.
        await eventually(lambda: waits or asked.chunks == FAR_TOO_MANY)
        assert 0 < asked.chunks < FAR_TOO_MANY


async def test_an_idle_connection_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.05)
    async with asyncio.timeout(60), serving() as (port, _), connected(port) as (reader, _):
        assert await reader.read() == b""


async def test_idle_connections_end_with_the_server() -> None:
    """Within its grace period of 30 s they would hold it up."""
    async with (
        asyncio.timeout(20),
        serving() as (port, stopping),
        connected(port) as (asked, writer),
        connected(port) as (unasked, _),
    ):
        writer.write(GET % b"word")
        assert await answer(asked) == b"word"
        stopping.set()
        assert await asked.read() == await unasked.read() == b""


class Waiting:
    """As much of a connection as the time for which it waits is about."""

    config = SimpleNamespace(keep_alive_timeout=0.01)

    def __init__(self) -> None:
        self.loop, self.closed = asyncio.get_running_loop(), asyncio.Event()

    def close_idle(self) -> None:
        self.closed.set()


async def test_only_who_waits_is_closed() -> None:
    asking, waiting, idle = Waiting(), Waiting(), IdleConnections()
    for connection in (asking, waiting):
        idle.add(cast(TCPServer, connection))
    idle.discard(cast(TCPServer, asking))
    await waiting.closed.wait()
    idle.end()
    assert not asking.closed.is_set()
    idle.add(cast(TCPServer, asking))
    await asking.closed.wait()
