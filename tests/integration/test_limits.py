"""What hostile and broken clients get: a bound each, an answer that says which, and nobody else notices."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from shared.model.settings import Settings
from shared.web import server
from shared.web.app import make_app
from tests.eventually import WITHIN_S, answered, eventually
from tests.harness.platform import FourServices
from tests.harness.process import Service
from tests.harness.serving import serving
from tests.harness.shared import FOUR_SERVICES, bare_services
from tests.harness.visitor import Stream, Visitor, Visitors

pytestmark = pytest.mark.servers

PER_USER, IN_ALL = 2, 3
RATE_PER_S, BURST = 0.5, 5
BUFFER_BYTES, EVENT_BYTES = 64 * 1024, 100 * 1024
# More than kernel and server together hold back for one reader.
MAX_FLOOD_EVENTS = 150
# The flood is fifteen megabytes: an edge that kept it for the stalled one would show it.
GROWTH_MAX_MIB = 10
OLDEST, NEWEST, FULL, BY_ADDRESS, BY_USER, SMALL = range(6)
LIMITS: list[dict[str, object]] = [
    {"connections_per_user": PER_USER},
    {"connections_per_user": PER_USER, "connections_over_limit": "refuse-newest"},
    {"connections_max": IN_ALL},
    {"connects_per_address_per_s": RATE_PER_S},
    {"connects_per_user_per_s": RATE_PER_S},
    {"buffer_max_bytes": BUFFER_BYTES},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FOUR_SERVICES)
async def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FourServices]:
    """One edge for each limit."""
    async with bare_services(request, tmp_path_factory) as ready:
        # Who is told that broker or log are busy, and tries again, has used up some of a limit.
        patient = {"backend_timeout_s": 30.0}
        await asyncio.gather(*(ready.add_edge(**patient, **settings) for settings in LIMITS))
        yield ready


# How many streams.


async def test_one_stream_too_many_closes_the_oldest(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor, other = visitors.visitor("opener"), visitors.visitor("neighbour")
        beside = [await other.open(OLDEST, headers=other.bearer) for _ in range(PER_USER)]
        streams = [await visitor.open(OLDEST, headers=visitor.bearer) for _ in range(PER_USER)]
        event = await publisher.publish("user:opener")
        for stream in streams:
            await stream.has(event.attributes["id"])
        for number in range(3):
            streams.append(await visitor.open(OLDEST, headers=visitor.bearer))
            assert await streams[number].closed() == "newer-connection"
        await publisher.publish("user:opener user:neighbour")
        await visitors.keep_their_promises(publisher)

    assert not any(stream.frames[-1].data["reconnect"] for stream in streams[:3])
    assert [len(stream.received) for stream in streams] == [1, 1, 0, 1, 1]
    assert [len(stream.received) for stream in beside] == [1, 1]


async def test_many_at_once_leave_as_many_as_there_may_be(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("crowd")
        streams = await asyncio.gather(*(visitor.open(OLDEST, headers=visitor.bearer) for _ in range(4 * PER_USER)))
        await eventually(lambda: len(open_ones(streams)) == PER_USER)
        await publisher.publish("user:crowd")
        await visitors.keep_their_promises(publisher)
    assert sorted(len(stream.received) for stream in streams)[-PER_USER:] == [1] * PER_USER


def open_ones(streams: list[Stream]) -> list[Stream]:
    return [stream for stream in streams if stream.is_open]


async def test_one_stream_too_many_is_refused_until_another_ends(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor, other = visitors.visitor("keeper"), visitors.visitor("neighbour")
        first, second = [await visitor.open(NEWEST, headers=visitor.bearer) for _ in range(PER_USER)]
        refused = await visitor.refused(NEWEST, headers=visitor.bearer)
        await other.open(NEWEST, headers=other.bearer)
        await first.leave()
        third = await opened(visitor, NEWEST)
        await publisher.publish("user:keeper")
        await visitors.keep_their_promises(publisher)

    assert is_too_many(refused, 429) > 0
    assert [len(stream.received) for stream in (second, third)] == [1, 1]


async def test_a_full_edge_sends_everybody_elsewhere_until_there_is_room(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        guests = [visitors.visitor(f"guest-{number}") for number in range(IN_ALL)]
        streams = [await guest.open(FULL, headers=guest.bearer) for guest in guests]
        late = visitors.visitor("late")
        refused = await late.try_open(FULL, headers=late.bearer)
        await refused.aread()
        elsewhere = await late.open(SMALL, headers=late.bearer)
        signed_in = await late.sign_in(FULL)
        await streams[0].leave()
        stream = await opened(late, FULL)
        await publisher.publish("user:late user:guest-1")
        await visitors.keep_their_promises(publisher)

    assert is_too_many(refused, 503) > 0
    assert signed_in.status_code == 200
    assert [len(each.received) for each in (streams[1], elsewhere, stream)] == [1, 1, 1]


async def opened(visitor: Visitor, edge: int) -> Stream:
    """A stream, as soon as the edge has room for it."""
    return await answered(lambda: visitor.open(edge, headers=visitor.bearer), AssertionError)


def is_too_many(answer: httpx.Response, status: int) -> int:
    """The seconds to wait that the refusal names."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    about = answer.json()
    assert (about["status"], bool(about["detail"]), bool(about["fix"])) == (status, True, True)
    return int(answer.headers["retry-after"])


# How fast.


@pytest.mark.parametrize("edge", [BY_ADDRESS, BY_USER])
async def test_who_connects_too_often_waits(platform: FourServices, edge: int) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        hasty, calm = visitors.visitor(f"hasty-{edge}"), visitors.visitor(f"calm-{edge}")
        early = await calm.open(edge, headers=calm.bearer) if edge == BY_ADDRESS else None
        burst = BURST - 1 if early else BURST
        assert [(await connect_once(hasty, edge)).status_code for _ in range(burst)] == [200] * burst
        # Everybody has the same address here; the user who is calm is another user.
        assert (await until_refused(hasty, edge)).status_code == 429
        if edge == BY_ADDRESS:
            await until_refused(calm, edge)
        else:
            assert (await connect_once(calm, edge)).status_code == 200
        wait_s = is_too_many(await until_refused(hasty, edge), 429)
        # As a client does that obeys: what the refusal asks for is enough, and nothing else tells when it is over.
        await asyncio.sleep(wait_s)
        stream = await hasty.open(edge, headers=hasty.bearer)
        await publisher.publish(f"user:hasty-{edge} user:calm-{edge}")
        await visitors.keep_their_promises(publisher)

    assert wait_s <= 1 / RATE_PER_S + 1
    assert len(stream.received) == 1
    assert early is None or len(early.received) == 1, "who is in stays in"


async def connect_once(visitor: Visitor, edge: int) -> httpx.Response:
    """The answer to a request for a stream; where it is one, left at once."""
    answer = await visitor.try_open(edge, headers=visitor.bearer)
    if not answer.is_success:
        await answer.aread()
    await answer.aclose()
    return answer


async def until_refused(visitor: Visitor, edge: int) -> httpx.Response:
    """The first refusal: each second that this takes earns another half of a connection, and no more."""
    for _ in range(10 * BURST):
        if not (answer := await connect_once(visitor, edge)).is_success:
            return answer
    raise AssertionError(f"{10 * BURST} connections and more were let in")


# How large, and how malformed.

# Beyond the limit by more than one read of the socket, which may still complete what was within it.
HUGE = "x" * 3 * server.HEADERS_MAX_BYTES
LARGE = "x" * 60_000
MANY = "X: y\r\n" * (server.HEADERS_MAX_BYTES // 2)
STREAM = "GET /v1/events HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_text", "statuses"),
    [
        (f"GET /v1/events?{HUGE} HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431}),
        (f"GET /{HUGE} HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431}),
        (f"{HUGE} / HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414, 431}),
        (f"{STREAM}X: {HUGE}\r\n\r\n", {431}),
        (f"{STREAM}{MANY}\r\n", {431}),
        (f"{STREAM}Cookie: carillon={LARGE}\r\n\r\n", {401}),
        (f"{STREAM}Authorization: Bearer {LARGE}\r\n\r\n", {401}),
        (f"GET /v1/events?ticket={LARGE} HTTP/1.1\r\nHost: x\r\n\r\n", {401}),
        (f"GET /v1/events?topics={LARGE} HTTP/1.1\r\nHost: x\r\n\r\n", {400, 401}),
        (f"GET /v1/events?{'a=1&' * 15_000} HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
        ("GET /v1/events?types=%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", {400, 401}),
        ("GET /v1/events HTTP/1.1\r\n\r\n", {400, 401}),
        (f"{STREAM}Host: y\r\n\r\n", {400}),
        (f"{STREAM}Content-Length: 1\r\n\r\nx", {400}),
        (f"{STREAM}Content-Length: 99999999999\r\n\r\n", {400}),
        (f"{STREAM}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (f"{STREAM}X: \0\r\n\r\n", {400}),
        ("GET /v1/events HTTP/9.9\r\nHost: x\r\n\r\n", {400, 401, 505}),
        ("GE T /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
        ("POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
        ("POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", {400}),
        ("POST /v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", {400, 401}),
    ],
    ids=range(23),
)
async def test_what_is_too_large_or_malformed_is_refused_and_disturbs_nobody(
    platform: FourServices, request_text: str, statuses: set[int]
) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("bystander")
        stream = await visitor.open(SMALL, headers=visitor.bearer)
        status = await status_of(platform.edge_urls[SMALL], request_text)
        await publisher.publish("user:bystander")
        await visitors.keep_their_promises(publisher)
    assert status in statuses
    assert len(stream.received) == 1


async def status_of(url: str, request_text: str) -> int:
    """Of the answer to a request that is sent as it is, and reset where the edge stops listening to it."""
    async with connected(url) as (reader, writer):
        with suppress(ConnectionError):
            writer.write(request_text.encode("latin-1"))
            await writer.drain()
        async with asyncio.timeout(WITHIN_S):
            line = await reader.readline()
    return int(line.split()[1])


@asynccontextmanager
async def connected(url: str, **options: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection to a service."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


# How slow.

IDLE_MAX_S = 0.5


@asynccontextmanager
async def impatient_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The server as every service has it, but that it waits for half a second instead of 75."""
    monkeypatch.setattr(server, "KEEP_ALIVE_S", IDLE_MAX_S)
    async with serving(make_app("test", Settings(), probes={}), grace_s=0.2) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("sent", ["", "G", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_half_a_request_is_reaped_however_slowly_it_goes_on(monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    async with impatient_server(monkeypatch) as url, connected(url) as (reader, writer):
        began = time.monotonic()
        trickling = asyncio.create_task(trickle(writer, sent, sent != ""), name="trickle")
        async with asyncio.timeout(WITHIN_S):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        took_s = time.monotonic() - began
        trickling.cancel()
    # Of what trickles for ever it would be never.
    assert took_s > IDLE_MAX_S * 0.8


async def trickle(writer: asyncio.StreamWriter, begin: str, goes_on: bool) -> None:
    """A byte now and then, each too soon to count as silence."""
    writer.write(begin.encode())
    while goes_on:
        await asyncio.sleep(IDLE_MAX_S / 10)
        writer.write(b"x")


async def test_a_hundred_half_requests_keep_nobody_out(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        address = urlsplit(platform.edge_urls[SMALL])
        visitor = visitors.visitor("patient")
        halves = [await asyncio.open_connection(address.hostname, address.port) for _ in range(100)]
        for number, (_, writer) in enumerate(halves):
            writer.write(STREAM[: number % len(STREAM)].encode())
        stream = await visitor.open(SMALL, headers=visitor.bearer)
        await publisher.publish("user:patient")
        await visitors.keep_their_promises(publisher)
        for _, writer in halves:
            writer.transport.abort()
    assert len(stream.received) == 1


async def test_a_client_that_stops_reading_is_cut_and_costs_nobody_else(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        edge = platform.edges[SMALL]
        stuck, other = visitors.visitor("stuck"), visitors.visitor("fluent")
        beside = await other.open(SMALL, headers=other.bearer)
        async with stalled(edge.url, stuck):
            before_mib = resident_mib(edge.pid)
            events = 0
            while not was_cut(edge) and events < MAX_FLOOD_EVENTS:
                await publisher.publish("user:stuck", data="x" * EVENT_BYTES)
                events += 1
            await eventually(lambda: was_cut(edge))
            await publisher.publish("user:fluent")
            await beside.until(lambda stream: stream.received)
            for _ in range(MAX_FLOOD_EVENTS - events):
                await publisher.publish("user:stuck", data="x" * EVENT_BYTES)
            # What was published before it has come to the edge, too.
            await publisher.publish("user:fluent")
            await beside.until(lambda stream: len(stream.received) == 2)
            grown_mib = resident_mib(edge.pid) - before_mib
            # Whoever was cut may come back at once, and is missing nothing.
            back = await stuck.open(SMALL, headers=stuck.bearer | {"Last-Event-ID": "earliest"})
            await visitors.keep_their_promises(publisher)

    assert len(back.received) == MAX_FLOOD_EVENTS
    assert grown_mib < GROWTH_MAX_MIB


def was_cut(edge: Service) -> bool:
    return "closing stream: slow-reader" in edge.output


@asynccontextmanager
async def stalled(url: str, visitor: Visitor) -> AsyncIterator[None]:
    """A stream whose client reads its first bytes, and then nothing."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, (address.hostname, address.port))
        await loop.sock_sendall(client, f"{STREAM}Authorization: Bearer {visitor.token}\r\n\r\n".encode())
        assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
        yield


def resident_mib(pid: int) -> float:
    """Memory that the process holds."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
