"""The server over real sockets: addresses, limits, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from quart import Blueprint, Quart

from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.web.app import limited_body, make_app
from shared.web.server import HEADERS_MAX_BYTES, UNSENT_MAX_BYTES, _is_about_a_vanished_client, listen
from tests.eventually import eventually
from tests.harness import serving as harness

LARGE_BYTES = 16 * 1024 * 1024


def an_app(sending: asyncio.Event) -> Quart:
    routes = Blueprint("routes", __name__)

    @routes.post("/limited")
    async def read() -> str:
        return str(len(await limited_body(1000)))

    @routes.get("/stuck")
    async def stuck() -> str:
        await asyncio.Event().wait()
        return "never"

    @routes.get("/large")
    async def large() -> AsyncIterator[bytes]:
        sending.set()
        yield b"x" * LARGE_BYTES

    return make_app("test", Settings(), routes, probes={})


@asynccontextmanager
async def serving(
    grace_s: float = 0.2, sending: asyncio.Event | None = None
) -> AsyncIterator[tuple[int, asyncio.Event]]:
    stopping = asyncio.Event()
    async with harness.serving(an_app(sending or asyncio.Event()), stopping=stopping, grace_s=grace_s) as port:
        yield port, stopping


async def test_serves_until_told_to_stop() -> None:
    async with serving() as (port, _), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        response = await client.get("/healthz")
        assert response.json() == {"status": "ok"}
        assert "server" not in response.headers
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_stuck_request_ends_after_the_grace_period() -> None:
    async with asyncio.timeout(60), serving(grace_s=0.05) as (port, stopping):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)
        stopping.set()
        assert await reader.read() == b""
        writer.close()


async def test_who_still_sends_gets_to_read_the_refusal() -> None:
    """Closing at once made the kernel send RST, and clients saw a broken pipe instead of 413."""
    async with serving() as (port, _), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for _ in range(3):
            assert (await client.post("/limited", content=b"x" * 1_500_000)).status_code == 413


@pytest.mark.parametrize(("size_bytes", "status"), [(HEADERS_MAX_BYTES // 2, 200), (HEADERS_MAX_BYTES * 2, 431)])
async def test_headers_have_a_limit(size_bytes: int, status: int) -> None:
    async with serving() as (port, _), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        response = await client.get("/healthz", headers={"X-Long": "x" * size_bytes})
        assert response.status_code == status


async def test_a_client_that_vanishes_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (port, _):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /limited HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        await writer.drain()
        writer.transport.abort()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_a_client_that_closes_after_its_answer_leaves_nothing() -> None:
    """Its socket and three tasks stayed for the 75 s of keep-alive: enough producers ran us out of sockets."""
    async with serving() as (port, _):
        await ask_and_close(port)
        before = asyncio.all_tasks()
        await ask_and_close(port)
        await eventually(lambda: asyncio.all_tasks() <= before)


async def test_a_client_that_breaks_off_in_a_response_leaves_nothing() -> None:
    """The response ended into the broken connection, which then waited 75 s for the next request."""
    sending = asyncio.Event()
    async with serving(sending=sending) as (port, _):
        await ask_and_close(port)
        before = asyncio.all_tasks()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await sending.wait()
        await reader.readexactly(100)
        writer.transport.abort()
        await eventually(lambda: asyncio.all_tasks() <= before)


async def ask_and_close(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize(
    ("error", "is_a_client"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), True),
        (BaseExceptionGroup("tasks", [ConnectionResetError(), BrokenPipeError()]), True),
        (BaseExceptionGroup("tasks", [ConnectionResetError(), ValueError()]), False),
        (TimeoutError(), False),
        (OSError(errno.EMFILE, "Too many open files"), False),
        (None, False),
    ],
)
def test_vanished_clients_are_told_from_faults_of_ours(error: BaseException | None, is_a_client: bool) -> None:
    """A half-open client was a traceback of forty lines, once TCP_USER_TIMEOUT had found it."""
    assert _is_about_a_vanished_client(error) is is_a_client


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=rf"port: {port} on 127.0.0.1 is taken; .*--port or CARILLON_PORT"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(InvalidInput, match="CARILLON_HOST"):
        listen(host, 0)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_accepted_connections_inherit_the_user_timeout() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="Linux and macOS have it")
def test_the_kernel_takes_little_for_a_client_that_does_not_read() -> None:
    """It took 2.7 MB for each, before the edge could notice."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()) as client:
        accepted, _ = listening.accept()
        with accepted:
            accepted.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert bytes_taken(accepted) < 10 * UNSENT_MAX_BYTES


def bytes_taken(sender: socket.socket) -> int:
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += sender.send(b"x" * 16 * 1024)
    return taken
