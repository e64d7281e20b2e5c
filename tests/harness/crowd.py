"""Hundreds of stream clients in one process: raw sockets that remember their cursor and come back.

They do what `reader.Reader` does, for a fiftieth of the processor time, and what no HTTP library
lets a client do: stop reading, and vanish.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

from services.edge.sessions import SessionCookie
from shared.model.tags import EVERYONE, user_tag
from tests.eventually import eventually
from tests.harness.checker import Delivery, Reading, check_promises
from tests.harness.platform import SETTLED_WITHIN_S, FourServices, Platform
from tests.harness.publisher import Publisher
from tests.harness.reader import Closing

FIRST_RETRY_MS = 300
SESSION_S = 3600.0
# Small, so that what a client does not read soon fills the server's buffers and not its own.
RECEIVE_BUFFER_BYTES = 64 * 1024
OK, UNAUTHORIZED = 200, 401
HEAD_END, FRAME_END, LINE_END = b"\r\n\r\n", b"\n\n", b"\r\n"
Take = Callable[[str, str | None, str, int | None], None]
"""(event, id, data, retry) of one frame."""


class Refusal(Exception):
    """An answer other than a stream."""

    def __init__(self, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"answered {status}")
        self.status, self.retry_after_s = status, retry_after_s


class Body:
    """The bytes of one response, as they come -> frames. Raises `Refusal` at the head of another answer."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._raw = b""
        self._text = b""
        self._in_body = False
        self.is_over = False
        """Whether the response has ended; the connection may stay open for others."""

    def feed(self, received: bytes) -> None:
        self._raw += received
        if not self._in_body and not self._skip_head():
            return
        while self._next_chunk():
            pass
        *whole, self._text = self._text.split(FRAME_END)
        for frame in whole:
            self._take(*parsed(frame))

    def _skip_head(self) -> bool:
        head, end, rest = self._raw.partition(HEAD_END)
        if end:
            status = int(head.split(b" ", 2)[1])
            if status != OK:
                raise Refusal(status, _retry_after_s(head))
            self._raw, self._in_body = rest, True
        return bool(end)

    def _next_chunk(self) -> bool:
        """Moves one chunk of the transfer coding (RFC 9112, section 7.1), where it is whole."""
        length, end, rest = self._raw.partition(LINE_END)
        if not end or len(rest) < (size := int(length, 16)) + len(LINE_END):
            return False
        self.is_over = not size
        self._text += rest[:size]
        self._raw = rest[size + len(LINE_END) :]
        return True


def parsed(frame: bytes) -> tuple[str, str | None, str, int | None]:
    """(event, id, data, retry) of a frame without its empty line."""
    fields: dict[str, list[str]] = {}
    for line in frame.decode().split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    last = {name: values[-1] for name, values in fields.items()}
    retry = int(last["retry"]) if "retry" in last else None
    return last.get("event", "message"), last.get("id"), "\n".join(fields.get("data", [])), retry


def _retry_after_s(head: bytes) -> float | None:
    for line in head.lower().split(LINE_END):
        if line.startswith(b"retry-after:"):
            return float(line.partition(b":")[2])
    return None


class Client(asyncio.Protocol):
    """One user's stream over all its connections."""

    def __init__(self, crowd: Crowd, user: str, name: str, cookie: str, first_edge: int) -> None:
        self._crowd, self._edge = crowd, first_edge
        self.user, self.cookie = user, cookie
        self.ticket: str | None = None
        """Opens the next stream in place of the cookie, once."""
        self.reading = Reading(name, frozenset((user_tag(user), EVERYONE)), "")
        self.ids: set[str] = set()
        """Of the events received, to wait for one."""
        self.closings: list[Closing] = []
        self.refusals: list[Refusal] = []
        self.connections = 0
        """How many streams have begun."""
        self.frames = 0
        """Received of whatever kind, heartbeats too."""
        self.is_connected = self.is_stalled = False
        self.last_event_id: str | None = None
        self.retry_ms = FIRST_RETRY_MS
        self.transport: asyncio.Transport | None = None
        self._body = Body(self._take)
        self._timer: asyncio.TimerHandle | None = None
        self._stays_away = self._is_connecting = False

    @property
    def edge(self) -> int:
        """The number of the edge that it is at, or tries next."""
        return self._edge % self._crowd.edges

    @property
    def is_away(self) -> bool:
        """Whether it will not come back before it is started."""
        return self._stays_away and self.transport is None and not self._is_connecting

    def begin(self) -> bool:
        """Whether it may connect now: two connections at once would be two clients."""
        may, self._stays_away = self.transport is None and not self._is_connecting, False
        self._is_connecting |= may
        return may

    # What it does.

    async def connect(self) -> None:
        """Opens a stream, and comes back by itself until it is dropped, or told to stay away."""
        self._body = Body(self._take)
        address = self._crowd.address(self.edge)
        connecting = socket.socket()
        connecting.setblocking(False)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(connecting, address)
            await loop.create_connection(partial(_itself, self), sock=connecting)
        except OSError:
            connecting.close()
            self._come_back(FIRST_RETRY_MS / 1000)
        finally:
            self._is_connecting = False

    def stall(self) -> None:
        """Reads no more, so that its receive window closes; stays connected."""
        assert self.transport is not None
        self.is_stalled = True
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Reads again, first of all what the kernel still has."""
        self.is_stalled = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def drop(self) -> None:
        """Ends the connection by RST, as a process that is killed; `connect` brings it back."""
        self._stays_away = True
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is not None:
            self.transport.abort()

    # What it is told.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        if self._stays_away:
            self.transport.abort()
            return
        self.transport.write(self._request())

    def _request(self) -> bytes:
        resume = f"Last-Event-ID: {self.last_event_id}\r\n" if self.last_event_id else ""
        ticket, self.ticket = self.ticket, None
        query, cookie = (f"?ticket={ticket}", "") if ticket else ("", f"Cookie: {self.cookie}\r\n")
        return f"GET /v1/events{query} HTTP/1.1\r\nHost: edge\r\n{cookie}{resume}\r\n".encode()

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        try:
            self._body.feed(data)
        except Refusal as refusal:
            self.refusals.append(refusal)
            # Its session has ended: who comes back signs in first.
            self._stays_away |= refusal.status == UNAUTHORIZED
            self.transport.abort()
        if self._body.is_over:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_connected = self.is_stalled = False
        self.transport = None
        self._edge += 1
        self._come_back(self.retry_ms / 1000)

    def _come_back(self, after_s: float) -> None:
        if not self._crowd.is_over and not self._stays_away:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._crowd.start, self)

    def _take(self, event: str, id_: str | None, data: str, retry_ms: int | None) -> None:
        self.frames += 1
        if retry_ms is not None:
            self.retry_ms = retry_ms
        if id_ is not None:
            self.last_event_id = id_
        if event == "connected":
            self.connections += 1
            self.is_connected = True
            self.reading.start = self.reading.start or str(id_)
        elif event == "reset":
            self.reading.resets.append(json.loads(data)["reason"])
        elif event == "closing":
            about = json.loads(data)
            self.closings.append(Closing(about["reason"], about["reconnect"], retry_ms))
            # Who is told not to come back by itself signs in first.
            self._stays_away = not about["reconnect"]
        elif data and event != "inbox.changed":
            self._deliver(event, str(id_), json.loads(data))

    def _deliver(self, event: str, id_: str, content: Any) -> None:
        self.reading.deliveries.append(Delivery(id_, event, content))
        self.ids.add(content["id"])
        self._crowd.delivered(self, content)


class Crowd:
    """All clients of one test. After a drop each tries the next edge, as behind a load balancer."""

    def __init__(self, urls: Sequence[str], cookies: Callable[[str], str]) -> None:
        self._addresses = [(str(parts.hostname), int(parts.port or 0)) for parts in map(urlsplit, urls)]
        self._cookies = cookies
        self._connecting: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self.all: list[Client] = []
        self.is_over = False
        self.on_delivery: Callable[[Client, Any], None] | None = None
        """Told of each event as it arrives, for who measures."""

    async def open(
        self, users: Collection[str], *, edge: int | None = None, within_s: float = SETTLED_WITHIN_S
    ) -> list[Client]:
        """A client for each user, spread over the edges or all on one; returns once all streams have begun."""
        opened = []
        for place, user in enumerate(users):
            name, first_edge = f"{user}#{next(self._numbers)}", place if edge is None else edge
            opened.append(Client(self, user, name, self._cookies(user), first_edge))
        self.all += opened
        for client in opened:
            self.start(client)
        await self.until(lambda: all(client.is_connected for client in opened), within_s, "connected")
        return opened

    def sign_in(self, client: Client) -> None:
        """A new session for the client."""
        client.cookie = self._cookies(client.user)

    def start(self, client: Client) -> None:
        """Lets a client connect, or come back."""
        if not client.begin():
            return
        task = asyncio.create_task(client.connect(), name=f"connect {client.reading.name}")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def until(self, is_so: Callable[[], object], within_s: float, what: str) -> None:
        """Waits for `is_so()`; says what the first clients were doing where it does not come."""
        try:
            await eventually(is_so, within_s)
        except TimeoutError:
            states = [
                f"{client.reading.name}: {len(client.ids)} received, connected {client.is_connected}, "
                f"{client.connections} streams, refused {[refusal.status for refusal in client.refusals[-3:]]}"
                for client in sorted(self.all, key=lambda client: (client.is_connected, len(client.ids)))
            ]
            raise AssertionError("\n".join([f"not {what} within {within_s:g} s", *states[:20]])) from None

    async def received(self, event_id: str, within_s: float, clients: Sequence[Client] | None = None) -> None:
        """Returns once all of them, or those named, have received the event."""
        waiting = self.all if clients is None else clients
        await self.until(lambda: all(event_id in client.ids for client in waiting), within_s, f"received {event_id}")

    def delivered(self, client: Client, content: Any) -> None:
        if self.on_delivery is not None:
            self.on_delivery(client, content)

    @property
    def edges(self) -> int:
        return len(self._addresses)

    def address(self, edge: int) -> tuple[str, int]:
        return self._addresses[edge]

    def some(self, share: float, seed: int = 1) -> list[Client]:
        """A reproducible choice of the clients."""
        return random.Random(seed).sample(self.all, round(len(self.all) * share))

    async def stop(self) -> None:
        """Ends all streams; what was received stays."""
        self.is_over = True
        for task in list(self._connecting):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for client in self.all:
            client.drop()
        await eventually(lambda: all(client.transport is None for client in self.all))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def crowd_of(platform: FourServices) -> Crowd:
    """The clients of one test, signed in already; to be entered."""
    settings = platform.settings
    assert settings.session_secret is not None
    cookie = SessionCookie([settings.session_secret.get_secret_value()], SESSION_S, secure=False)

    def cookie_of(user: str) -> str:
        return f"{cookie.name}={cookie.sign(cookie.open(user, (), time.time() + SESSION_S))}"

    return Crowd(platform.edge_urls, cookie_of)


async def keeps_its_promises(
    platform: Platform, publisher: Publisher, crowd: Crowd, within_s: float = SETTLED_WITHIN_S
) -> None:
    """As `Platform.keeps_its_promises`, for a crowd."""
    last = await publisher.publish("everyone", type="harness.last")
    stuck: AssertionError | None = None
    try:
        await crowd.received(last.attributes["id"], within_s)
    except AssertionError as late:
        stuck = late
    await crowd.stop()
    log_id, entries = await platform.entries()
    check_promises(log_id, entries, publisher.confirmed, (client.reading for client in crowd.all))
    if stuck is not None:
        raise stuck


def _itself(client: Client) -> Client:
    return client
