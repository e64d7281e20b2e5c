"""The edge by HTTP/2, with TLS and without, beside HTTP/1.1; and compressed streams, frame by frame."""

from __future__ import annotations

import asyncio
import json
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import brotli
import httpx
import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from httpx_sse import EventSource, ServerSentEvent

from tests.eventually import WITHIN_S, eventually
from tests.harness.h2_client import h2_client
from tests.harness.own_edge import OwnEdge, own_edge, served

STREAMS = 20
# Many times what may wait for one stream: in its window, in the server's buffer and in ours.
FLOOD_EVENTS, FLOOD_BYTES = 40, 150_000
FLOOD_MAX_KEPT_BYTES = 512 * 1024
DECODERS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}


def self_signed(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "carillon test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return cert_file, key_file


class Stream:
    """One open stream, read as it is told."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        # It also hands on the frames that no client dispatches, such as the one with `retry:` alone.
        self._frames = (frame async for frame in EventSource(response).aiter_sse() if frame.data)

    async def until(self, event_id: str) -> list[str]:
        """The ids of the events up to this one."""
        seen: list[str] = []
        while event_id not in seen:
            seen += [json.loads(frame.data)["id"] for frame in [await self.frame()] if "specversion" in frame.data]
        return seen

    async def frame(self) -> ServerSentEvent:
        """The next one."""
        async with asyncio.timeout(WITHIN_S):
            return await anext(self._frames)

    async def to_the_end(self) -> list[ServerSentEvent]:
        """What comes until the server ends the stream in order."""
        async with asyncio.timeout(WITHIN_S):
            return [frame async for frame in self._frames]


class Client:
    """One HTTP client; leaving it closes its streams."""

    def __init__(self, own: OwnEdge, base_url: str, **options: object) -> None:
        self._own = own
        self.http = httpx.AsyncClient(base_url=base_url, timeout=WITHIN_S, trust_env=False, **options)  # type: ignore[arg-type]
        self._opened = AsyncExitStack()

    async def open(self, user: str = "alice", **headers: str) -> Stream:
        """A stream that has begun."""
        request = self.http.stream("GET", "/v1/events", headers=self._own.bearer(user) | headers)
        stream = Stream(await self._opened.enter_async_context(request))
        assert stream.response.status_code == 200
        assert (await stream.frame()).event == "connected"
        return stream

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()
        await self.http.aclose()


def connections_of(client: Client) -> int:
    """How many TCP connections the client has open."""
    pool = client.http._transport._pool  # type: ignore[attr-defined]  # httpx does not tell
    return len(pool.connections)


@pytest.fixture
async def own() -> AsyncIterator[OwnEdge]:
    async with own_edge(connections_per_user=100, connects_per_user_per_s=1000) as edge:
        yield edge


@pytest.fixture
async def h2c(own: OwnEdge) -> AsyncIterator[Client]:
    """HTTP/2 without TLS, by prior knowledge."""
    async with served(own) as port, Client(own, f"http://127.0.0.1:{port}", http1=False, http2=True) as client:
        yield client


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[tuple[OwnEdge, str, ssl.SSLContext]]:
    """(an edge behind its own certificate, its address, who trusts it)."""
    cert, key = self_signed(tmp_path)
    limits = {"connections_per_user": 100, "connects_per_user_per_s": 1000}
    async with own_edge(tls_cert=cert, tls_key=key, **limits) as own, served(own) as port:
        yield own, f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(cert))


async def test_streams_run_side_by_side_on_one_connection(tls: tuple[OwnEdge, str, ssl.SSLContext]) -> None:
    own, url, trust = tls
    async with Client(own, url, http2=True, verify=trust) as client:
        streams = [await client.open() for _ in range(STREAMS)]
        assert {stream.response.http_version for stream in streams} == {"HTTP/2"}
        assert connections_of(client) == 1
        published = [await own.publish(data=number) for number in range(50)]
        for stream in streams:
            assert await stream.until(published[-1]) == published
        session = await client.http.post("/v1/session", headers=own.bearer())
        assert (session.status_code, session.http_version) == (200, "HTTP/2")
        assert connections_of(client) == 1
    await eventually(lambda: own.edge.connection_count == 0)


async def test_a_stream_that_is_left_leaves_the_others_of_its_connection(own: OwnEdge) -> None:
    async with served(own) as port, h2_client(port) as client:
        stays = await client.get("/v1/events", own.bearer())
        for _ in range(5):
            left = await client.get("/v1/events", own.bearer())
            left.reset()
            await eventually(lambda: own.edge.connection_count == 1)
        published = await own.publish()
        await stays.until(published)


async def test_http_1_over_tls(tls: tuple[OwnEdge, str, ssl.SSLContext]) -> None:
    own, url, trust = tls
    async with Client(own, url, http2=False, verify=trust) as client:
        streams = [await client.open() for _ in range(3)]
        assert {stream.response.http_version for stream in streams} == {"HTTP/1.1"}
        assert connections_of(client) == 3
        published = await own.publish()
        for stream in streams:
            assert await stream.until(published) == [published]


async def test_http_2_without_tls_by_prior_knowledge(h2c: Client, own: OwnEdge) -> None:
    streams = [await h2c.open() for _ in range(3)]
    assert {stream.response.http_version for stream in streams} == {"HTTP/2"}
    published = await own.publish()
    for stream in streams:
        assert await stream.until(published) == [published]
    assert connections_of(h2c) == 1


async def test_a_stream_that_is_not_read_stalls_no_other_of_its_connection(own: OwnEdge) -> None:
    """Flow control is by stream: what one does not read waits on the server, and only a bounded amount of it.

    Hypercorn 0.18 took all of it, for ever: its buffer of a stream was no bound where the window was closed.
    """
    async with served(own) as port, h2_client(port) as client:
        stalled = await client.get("/v1/events", own.bearer(), unread=True)
        read = await client.get("/v1/events", own.bearer())
        published: list[str] = []
        for _ in range(FLOOD_EVENTS):
            published.append(await own.publish(data="x" * FLOOD_BYTES))
            await read.until(published[-1])
        assert read.event_ids == published
        stalled.read()
        await stalled.ended()
    assert len(stalled.body) < FLOOD_MAX_KEPT_BYTES
    assert stalled.body.endswith(b'event: closing\ndata: {"reason":"slow-reader","reconnect":true}\n\n')
    assert stalled.event_ids == published[: len(stalled.event_ids)]


async def test_a_drain_ends_every_stream_of_a_connection_in_order(tls: tuple[OwnEdge, str, ssl.SSLContext]) -> None:
    own, url, trust = tls
    async with Client(own, url, http2=True, verify=trust) as client:
        streams = [await client.open() for _ in range(STREAMS)]
        last = await own.publish()
        for stream in streams:
            await stream.until(last)
        own.stopping.set()
        ends = await asyncio.gather(*(stream.to_the_end() for stream in streams))
    for frames in ends:
        assert [frame.event for frame in frames] == ["closing"]
        assert json.loads(frames[0].data) == {"reason": "drain", "reconnect": True}
    # The spread of a drain: who comes back does not come at one moment with all others.
    assert len({frames[0].retry for frames in ends}) > STREAMS / 4


@pytest.mark.parametrize("coding", DECODERS)
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_each_compressed_frame_can_be_read_at_once(coding: str, http2: bool) -> None:
    async with own_edge(compression=True, heartbeat_s=0.1) as own, served(own) as port:
        options = {"http1": not http2, "http2": http2}
        async with Client(own, f"http://127.0.0.1:{port}", **options) as client:
            headers = own.bearer() | {"Accept-Encoding": coding}
            async with client.http.stream("GET", "/v1/events", headers=headers) as response:
                assert response.headers["content-encoding"] == coding
                assert "Accept-Encoding" in response.headers["vary"]
                await each_frame_arrives_alone(own, response, DECODERS[coding]())


async def each_frame_arrives_alone(own: OwnEdge, response: httpx.Response, decode: Callable[[bytes], bytes]) -> None:
    """Nothing is published before the last one was read, and then comes a heartbeat without any event."""
    raw = response.aiter_raw()
    text = b""

    async def read_until(wanted: bytes) -> None:
        nonlocal text
        async with asyncio.timeout(WITHIN_S):
            while wanted not in text:
                text += decode(await anext(raw))

    await read_until(b'"connection"')
    for number in range(20):
        published = await own.publish(data={"number": number, "text": "é🔔" * number})
        await read_until(published.encode())
        assert text.endswith(b"\n\n")
    text = b""
    await read_until(b":\n\n")


@pytest.mark.parametrize(("enabled", "accept"), [(False, "gzip, br, zstd"), (True, "identity"), (True, "deflate")])
async def test_streams_are_plain_unless_both_sides_want_it(enabled: bool, accept: str) -> None:
    async with (
        own_edge(compression=enabled) as own,
        served(own) as port,
        Client(own, f"http://127.0.0.1:{port}") as client,
    ):
        stream = await client.open(**{"Accept-Encoding": accept})
        assert "content-encoding" not in stream.response.headers
