"""Requests that nobody should send. Never a 500, never a traceback in the log, and nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.edge.selection import PARAMETERS
from tests.eventually import WITHIN_S
from tests.harness.own_edge import served
from tests.integration.fuzzing import CREDENTIALS, Fuzzed, fuzzed_edge

FUZZ = settings(
    deadline=None,
    database=None,
    print_blob=True,
    # The edge serves all examples of a test, as it serves all clients of a day.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
STREAMING = re.compile(rb"\nevent: connected\n|HTTP/1.1 101 ")
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
PATHS = (
    b"/v1/events",
    b"/v1/events",
    b"/v1/session",
    b"/v1/tickets",
    b"/v1/connections",
    b"/v1/connections/counts",
    b"/readyz",
    b"/",
)
CURIOUS = ("", "*", "..", "\x00", "\r\n", "é🔔", "\ufeff", "１", "null", "-1", "1e999", "nan", "x" * 10_000, ",," * 60)

values = st.one_of(
    st.sampled_from(CURIOUS).map(str.encode), st.text(max_size=40).map(str.encode), st.binary(max_size=40)
)
cursors = st.builds(
    lambda log, dot, position: f"{log}{dot}{position}".encode(),
    st.sampled_from(["", "0", "abc", "z" * 32, "z" * 33, "É"]),
    st.sampled_from([".", "", "..", ". "]),
    st.one_of(st.integers(-1, 10**30), st.sampled_from(["earliest", "00", "٣", "1_0", "+1", "9" * 5000])),
)
names = st.one_of(
    st.sampled_from([*PARAMETERS, "everywhere", "user", "after", "limit", "session"]).map(str.encode),
    st.text(max_size=8).map(str.encode),
)
lawful = st.sampled_from([b"topics=news", b"topics=builds/1", b"types=order.*", b"as=message", b"heartbeat=1"])
parameters = st.one_of(
    lawful, st.builds(lambda name, value: encoded(name) + b"=" + encoded(value), names, st.one_of(values, cursors))
)
queries = st.lists(st.one_of(parameters, st.binary(max_size=12).filter(lambda raw: raw.isascii())), max_size=5)
header_names = st.sampled_from(
    [b"last-event-id", b"origin", b"sec-fetch-site", b"accept-encoding", b"authorization", b"cookie", b"host",
     b"content-type", b"content-length", b"x-forwarded-for", b"forwarded", b"upgrade", b"traceparent", b"range",
     b"if-none-match", b"accept", b"expect", b"x-http-method-override"]
)  # fmt: skip
# What an HTTP parser lets through: RFC 9110, 5.5.
header_values = st.one_of(values, cursors).map(lambda raw: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"?", raw).strip())
headers = st.lists(st.tuples(header_names, header_values), max_size=5)


def encoded(raw: bytes) -> bytes:
    return quote_from_bytes(raw).encode()


def with_changes(seed: bytes, made: list[tuple[float, int, bytes]]) -> bytes:
    for where, gone, instead in made:
        at = int(where * len(seed))
        seed = seed[:at] + instead + seed[at + gone :]
    return seed


@pytest.fixture
async def fuzzed() -> AsyncIterator[Fuzzed]:
    async with fuzzed_edge(compression=True, cors_origins=("https://app.example",)) as edge:
        yield edge


@settings(FUZZ, max_examples=1200)
@given(
    method=st.sampled_from(METHODS),
    path=st.sampled_from(PATHS),
    query=queries,
    extra=headers,
    kind=st.sampled_from(CREDENTIALS),
    body=st.binary(max_size=100),
)
async def test_queries_headers_and_bodies(
    fuzzed: Fuzzed,
    method: str,
    path: bytes,
    query: list[bytes],
    extra: list[tuple[bytes, bytes]],
    kind: str,
    body: bytes,
) -> None:
    known, parameter = await fuzzed.credentials(kind)
    target = path + b"?" + b"&".join([*query, parameter.encode()])
    await fuzzed.ask(method, target, [*known, *extra], body)


@settings(FUZZ, max_examples=500)
@given(cursor=st.one_of(cursors, values), in_header=st.booleans(), at=st.integers(0, 60))
async def test_cursors(fuzzed: Fuzzed, cursor: bytes, in_header: bool, at: int) -> None:
    """A bad header is answered by a reset, since no browser can mend it; a bad parameter by a 400."""
    known, _ = await fuzzed.credentials("bearer")
    if not in_header:
        answer = await fuzzed.ask("GET", b"/v1/events?last-event-id=" + encoded(cursor), known)
        assert answer.status in (200, 400)
        return
    value = re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"?", cursor).strip()
    answer = await fuzzed.ask("GET", b"/v1/events", [*known, (b"last-event-id", value)])
    assert answer.is_stream
    assert (b"event: reset\n" in answer.body) == (value not in (b"", b"earliest"))


@settings(FUZZ, max_examples=400)
@given(
    kind=st.sampled_from(["cookie", "bearer"]),
    where=st.floats(0, 1),
    gone=st.integers(0, 3),
    instead=st.one_of(st.binary(max_size=3), st.just(b"x" * 8000), st.just(b".")),
)
async def test_cookies_and_tokens_that_were_changed(
    fuzzed: Fuzzed, kind: str, where: float, gone: int, instead: bytes
) -> None:
    """Whatever is changed of a cookie or a token, it is worth nothing."""
    [(header, credential)], _ = await fuzzed.credentials(kind)
    begin = credential.index(b"=" if kind == "cookie" else b" ") + 1
    value = credential[begin:]
    changed = re.sub(rb"[\x00-\x20\x7f;,\"]", b"?", with_changes(value, [(where, gone, instead)]))
    answer = await fuzzed.ask("GET", b"/v1/events", [(header, credential[:begin] + changed)])
    assert answer.status == 401 or is_the_same(changed, value)


def is_the_same(changed: bytes, value: bytes) -> bool:
    """The last character of a base64 signature has bits that nobody reads."""
    return changed == value or (len(changed) == len(value) and changed[:-1] == value[:-1])


SEEDS = (
    b"GET /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n",
    b"GET /v1/events?ticket=x&topics=%ff HTTP/1.1\r\nHost: a\r\nLast-Event-ID: x.1\r\n\r\n",
    b"POST /v1/session HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /v1/tickets HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    b"GET /v1/events HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
)
# (where, how many bytes go, what comes instead)
changes = st.tuples(st.floats(0, 1), st.integers(0, 4), st.one_of(st.just(b""), st.binary(max_size=4)))
requests = st.tuples(st.sampled_from(SEEDS), st.lists(changes, max_size=3))


@pytest.fixture
async def on_a_socket() -> AsyncIterator[tuple[Fuzzed, int]]:
    async with fuzzed_edge(heartbeat_s=0.2) as fuzzed, served(fuzzed.own) as port:
        yield fuzzed, port


async def exchange(port: int, sent: bytes) -> bytes:
    """Sends all of it and then the end of the stream; what came until the server closed, or began to stream.

    Hypercorn reads nothing while it answers: where more was sent after the request for a stream, it
    notices the end only by a heartbeat that cannot be sent.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    with contextlib.suppress(ConnectionError):
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(WITHIN_S):
            while not STREAMING.search(received) and (chunk := await reader.read(65536)):
                received += chunk
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return received


@settings(FUZZ, max_examples=150)
@given(made=st.lists(requests, min_size=1, max_size=3))
# A traceback: settings that are no base64.
@example(made=[(SEEDS[4].replace(b"AAMAAABkAARAAAAAAAIAAAAA", b"AAMAAABkAARAAAAAAAIAA"), [])])
async def test_bytes_on_a_socket(
    on_a_socket: tuple[Fuzzed, int], made: list[tuple[bytes, list[tuple[float, int, bytes]]]]
) -> None:
    """Requests with some bytes changed, several in one go, and then the end."""
    fuzzed, port = on_a_socket
    [(_, authorization)], _ = await fuzzed.credentials("bearer")
    token = authorization.removeprefix(b"Bearer ")
    received = await exchange(port, b"".join(with_changes(*each).replace(b"{token}", token) for each in made))
    statuses = [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3})", received)]
    # h11's answer to a transfer coding that is none (RFC 9112, section 6.1).
    assert all(status < 500 or status == 501 for status in statuses), received
    fuzzed.check_calm()


H2_HEADERS = {
    b":method": (b"GET", b"POST", b"CONNECT", b"", b"\xff", b"G T"),
    b":path": (b"/v1/events", b"/healthz", b"", b"*", b"/\xff", b"/%ff?%ff", b"no-slash", b"/\x00"),
    b":scheme": (b"https", b"", b"\xff"),
    b":authority": (b"edge.test", b"", b"\xff", b"a:b:c", b"a@b"),
    b":protocol": (b"websocket", b"\xff"),
    b"cookie": (b"a=b", b"\xff"),
    b"authorization": (b"Bearer {token}", b"Bearer \xff"),
    b"content-length": (b"0", b"5", b"-1", b"x"),
    b"te": (b"trailers",),
    b"\xff": (b"a",),
    b"X-Upper": (b"a",),
}
H2_NEEDED = (b":method", b":path", b":scheme")
h2_headers = st.fixed_dictionaries(
    {name: st.sampled_from(H2_HEADERS[name]) for name in H2_NEEDED},
    optional={name: st.sampled_from(some) for name, some in H2_HEADERS.items() if name not in H2_NEEDED},
)


def h2_bytes(headers: dict[bytes, bytes], body: bytes, rest: bytes) -> bytes:
    """A connection with one request, sent as it is, however unlawful."""
    lawless = H2Configuration(
        client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    connection = H2Connection(lawless)
    connection.initiate_connection()
    connection.send_headers(1, list(headers.items()), end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    return connection.data_to_send() + rest


@settings(FUZZ, max_examples=120)
@example(headers={b":method": b"\xff", b":path": b"/", b":scheme": b"https"}, body=b"", rest=b"")
# A traceback as it closed: a path that is no ASCII.
@example(headers=dict(zip(H2_HEADERS, (b"G T", b"/\xff", b"\xff", b"a@b"), strict=False)), body=b"", rest=b"")
@given(headers=h2_headers, body=st.binary(max_size=5), rest=st.one_of(st.just(b""), st.binary(max_size=30)))
async def test_http_2_on_a_socket(
    on_a_socket: tuple[Fuzzed, int], headers: dict[bytes, bytes], body: bytes, rest: bytes
) -> None:
    """Header fields that no client sends, and frames of noise after them. A method that is no ASCII was a traceback."""
    fuzzed, port = on_a_socket
    [(_, authorization)], _ = await fuzzed.credentials("bearer")
    sent = {name: authorization if value == b"Bearer {token}" else value for name, value in headers.items()}
    await exchange(port, h2_bytes(sent, body, rest))
    fuzzed.check_calm()
