"""Clients of the event stream, as a browser would be: cookie, `Last-Event-ID`, `retry:`, come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

from services.edge.tokens import sign_token
from tests.eventually import eventually
from tests.harness.checker import Delivery, Reading

# Heartbeats come every 15 s: a stream that is silent for longer is dead.
SILENCE_MAX_S = 40.0
CONNECT_WITHIN_S = 90.0
# Until a stream has said how long to wait.
FIRST_RETRY_S = 0.3


class ReaderRefused(AssertionError):
    """An edge answered a reader with a status that no reconnect mends."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A `closing` frame."""

    reason: str
    reconnect: bool
    retry_ms: int | None


class Reader:
    """One signed-in client. `follow` runs until it is cancelled.

    Args:
        client: shared by all readers; keeps no cookies.
        urls: edges; after a drop the reader tries the next one, as behind a load balancer.
        token: the bearer that opens its session.
        start: a cursor or `earliest`, sent as a parameter at the first connection; None for now.
        resume: a cursor that it has from an earlier life, sent as `Last-Event-ID`.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        urls: Sequence[str],
        name: str,
        token: str,
        *,
        first_edge: int = 0,
        start: str | None = None,
        resume: str | None = None,
    ) -> None:
        self._client, self._urls, self._token = client, urls, token
        self._edge, self._start = first_edge, start
        self._cookie: str | None = None
        self._retry_s = FIRST_RETRY_S
        self.last_event_id = resume
        self.reading = Reading(name, frozenset(), "")
        self.ids: set[str] = set()
        """Of the events received, to wait for one."""
        self.closings: list[Closing] = []
        self.connections = 0
        """How many streams have begun."""
        self.is_connected = False

    @property
    def name(self) -> str:
        return self.reading.name

    async def follow(self) -> None:
        """Reads, and comes back after each drop, for ever."""
        while True:
            try:
                await self._sign_in()
                await self._read_stream()
            except (httpx.TransportError, _Unavailable):
                pass
            finally:
                self.is_connected = False
            self._edge += 1
            await asyncio.sleep(self._retry_s)

    @property
    def _url(self) -> str:
        return self._urls[self._edge % len(self._urls)]

    async def _sign_in(self) -> None:
        if self._cookie is not None:
            return
        answer = await self._client.post(f"{self._url}/v1/session", headers={"Authorization": f"Bearer {self._token}"})
        _check_status(answer)
        self._cookie = answer.headers["set-cookie"].split(";", 1)[0]
        self.reading.tags = frozenset({*answer.json()["tags"]})

    async def _read_stream(self) -> None:
        assert self._cookie is not None
        headers = {"Cookie": self._cookie}
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        params = {"last-event-id": self._start} if self._start is not None and self.last_event_id is None else {}
        async with aconnect_sse(
            self._client, "GET", f"{self._url}/v1/events", headers=headers, params=params
        ) as stream:
            _check_status(stream.response)
            async for frame in stream.aiter_sse():
                self._take(frame)

    def _take(self, frame: ServerSentEvent) -> None:
        if frame.retry is not None:
            self._retry_s = frame.retry / 1000
        match frame.event:
            case "connected":
                self._connected(frame)
            case "reset":
                self.reading.resets.append(json.loads(frame.data)["reason"])
                self.last_event_id = frame.id
            case "closing":
                about = json.loads(frame.data)
                self.closings.append(Closing(about["reason"], about["reconnect"], frame.retry))
            case "inbox.changed":
                pass  # Counts, no event: it has no id, and moves no cursor.
            case "message" | "":
                assert not frame.data, f"a frame without a type: {frame}"
            case _:
                self._deliver(frame)

    def _connected(self, frame: ServerSentEvent) -> None:
        self.connections += 1
        self.is_connected = True
        self.last_event_id = frame.id
        self.reading.start = self.reading.start or frame.id

    def _deliver(self, frame: ServerSentEvent) -> None:
        data = json.loads(frame.data)
        self.last_event_id = frame.id
        self.reading.deliveries.append(Delivery(frame.id, frame.event, data))
        self.ids.add(data["id"])


class Readers:
    """All readers of one test: one HTTP client, a task for each, and a watch over all of them."""

    def __init__(self, urls: Sequence[str], jwt_secret: str) -> None:
        self._urls, self._jwt_secret = urls, jwt_secret
        timeout = httpx.Timeout(SILENCE_MAX_S, connect=5.0)
        self._client = httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=None), trust_env=False)
        # Each reader sends its own; the jar would mix them.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._tasks: dict[Reader, asyncio.Task[None]] = {}
        self.all: list[Reader] = []

    async def open(
        self, user: str, *topics: str, start: str | None = None, resume: str | None = None, edge: int | None = None
    ) -> Reader:
        """A reader for `user` who follows `topics`; returns once its stream has begun."""
        [reader] = await self.open_all([user], topics, start=start, resume=resume, edge=edge)
        return reader

    async def open_all(
        self,
        users: Collection[str],
        topics: Sequence[str] = (),
        *,
        start: str | None = None,
        resume: str | None = None,
        edge: int | None = None,
    ) -> list[Reader]:
        """Readers spread over the edges, or all on the one numbered `edge`."""
        readers = []
        for user in users:
            token = sign_token(self._jwt_secret, user, tags=[f"topic:{topic}" for topic in topics])
            first_edge = len(self.all) if edge is None else edge
            name = f"{user}#{len(self.all) + 1}"
            reader = Reader(self._client, self._urls, name, token, first_edge=first_edge, start=start, resume=resume)
            self.all.append(reader)
            readers.append(reader)
            self._tasks[reader] = asyncio.create_task(reader.follow(), name=f"reader {name}")
        await self.until(lambda: all(reader.is_connected for reader in readers), CONNECT_WITHIN_S, "connected")
        return readers

    async def until(self, is_so: Callable[[], object], within_s: float, what: str) -> None:
        """Waits for `is_so()`; a reader that was refused meanwhile fails at once."""

        def holds() -> bool:
            for task in self._tasks.values():
                if task.done() and not task.cancelled():
                    task.result()
            return bool(is_so())

        try:
            await eventually(holds, within_s)
        except TimeoutError:
            states = [
                f"{reader.name}: {len(reader.ids)} received, connected {reader.is_connected}" for reader in self.all
            ]
            raise AssertionError("\n".join([f"not {what} within {within_s:g} s", *states[:30]])) from None

    async def received(self, event_id: str, within_s: float, readers: Sequence[Reader] | None = None) -> None:
        """Returns once all of them, or those named, have received the event."""
        waiting = self.all if readers is None else readers
        await self.until(
            lambda: all(event_id in reader.ids for reader in waiting), within_s, f"received {event_id} by all"
        )

    async def stop(self, *readers: Reader) -> None:
        """Closes the streams of these, or of all; what they received stays."""
        for reader in readers or self.all:
            if task := self._tasks.pop(reader, None):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            await self._client.aclose()


class _Unavailable(Exception):
    """503: come back later."""


def _check_status(answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise _Unavailable
    if not answer.is_success:
        raise ReaderRefused(f"{answer.request.method} {answer.request.url}: {answer.status_code}")
