"""One user at the edges' HTTP side, and its streams as they came over the wire: nothing comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpx

from services.edge.tokens import sign_token
from shared.model.entry import Entry
from tests.eventually import WITHIN_S, answered, eventually
from tests.harness.checker import Delivery, Reading, check_promises
from tests.harness.platform import SETTLED_WITHIN_S, Platform
from tests.harness.publisher import Publisher

ANSWER_WITHIN_S = 60.0
LAST = "harness.last"
EVENTS = "/v1/events"
# Frames of the stream itself: they name no event of the log.
OWN_FRAMES = frozenset({"connected", "reset", "closing", "session-expiring", "snapshot", "end", "stale"})


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands between two empty lines of a stream."""

    text: str
    id: str | None = None
    event: str | None = None
    data: Any = None
    """Decoded; None where the frame has none."""
    retry_ms: int | None = None

    @classmethod
    def parse(cls, text: str) -> Frame:
        """By the letter of WHATWG HTML, section 9.2, for what an edge of ours writes."""
        fields: dict[str, list[str]] = {}
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        lines, retry = fields.get("data"), fields.get("retry")
        return cls(
            text,
            id=fields.get("id", [None])[-1],
            event=fields.get("event", [None])[-1],
            data=json.loads("\n".join(lines)) if lines else None,
            retry_ms=int(retry[-1]) if retry else None,
        )

    @property
    def is_heartbeat(self) -> bool:
        return self.text == ":"

    @property
    def is_progress(self) -> bool:
        """Whether it moves the cursor and nothing else."""
        return self.id is not None and self.event is None and self.data is None


class Stream:
    """One open response, read to its end in the background.

    Args:
        reading: what it must come to, filled as it is received.
    """

    def __init__(self, response: httpx.Response, reading: Reading) -> None:
        self.response, self.reading = response, reading
        self.frames: list[Frame] = []
        self.ended_at: float | None = None
        """By the monotonic clock."""
        self._task = asyncio.create_task(self._read(), name=f"stream {reading.name}")

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def cursor(self) -> str | None:
        return next((frame.id for frame in reversed(self.frames) if frame.id is not None), None)

    @property
    def received(self) -> list[str]:
        """The ids of the events in the order of their arrival, but for the last of the run."""
        return [delivery.data["id"] for delivery in self.reading.deliveries if delivery.type != LAST]

    def named(self, event: str) -> list[Any]:
        """The data of the frames of this name."""
        return [frame.data for frame in self.frames if frame.event == event]

    async def until(self, is_so: Callable[[Stream], object], within_s: float = WITHIN_S) -> None:
        """Waits for `is_so(stream)`."""
        try:
            await eventually(lambda: is_so(self), within_s)
        except TimeoutError:
            shown = "\n".join(frame.text for frame in self.frames[-5:])
            raise AssertionError(f"{self.reading.name}: not so within {within_s:g} s; last frames:\n{shown}") from None

    async def has(self, event_id: object, within_s: float = WITHIN_S) -> None:
        """Returns once the event is received."""
        await self.until(lambda _: event_id in self.received, within_s)

    async def closed(self, within_s: float = WITHIN_S) -> str | None:
        """Waits for the end, and returns the reason of the `closing` frame; None where it was cut."""
        await self.until(lambda stream: not stream.is_open, within_s)
        about = self.frames[-1].data if self.frames and self.frames[-1].event == "closing" else None
        return about["reason"] if about else None

    async def leave(self) -> None:
        """Closes it as a client does that goes away; safe to call twice."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        pending = ""
        try:
            async for text in self.response.aiter_text():
                *whole, pending = (pending + text).split("\n\n")
                for block in whole:
                    self._take(Frame.parse(block))
        except httpx.TransportError:
            pass
        finally:
            self.ended_at = time.monotonic()
            self.reading.end = self.cursor
            await self.response.aclose()

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.event == "connected":
            self.reading.start = self.reading.start or str(frame.id)
        elif frame.event == "reset":
            self.reading.resets.append(frame.data["reason"])
        elif frame.event not in OWN_FRAMES and frame.data is not None:
            # Without its name (`as=message`) an event still says its type.
            self.reading.deliveries.append(Delivery(str(frame.id), frame.event or frame.data["type"], frame.data))


class Unavailable(Exception):
    """503: come back later."""


async def available(send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The answer to a request that is sent again while it is 503, as clients do.

    A service waits two seconds for its broker and its log, and one on a busy machine may need longer.
    """

    async def send_once() -> httpx.Response:
        answer = await send()
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            await answer.aclose()
            raise Unavailable(str(answer.request.url))
        return answer

    return await answered(send_once, Unavailable)


class Visitor:
    """One user with a bearer token, and with a cookie once signed in.

    Args:
        tags: granted by the token, exact ones or patterns.
    """

    def __init__(self, visitors: Visitors, user: str, tags: Collection[str]) -> None:
        self._visitors = visitors
        self.user, self.tags = user, tuple(tags)
        self.cookie: str | None = None
        """`name=value`."""
        self.sid: str | None = None
        self.token = self.new_token()

    def new_token(self, ttl_s: float = 3600, tags: Collection[str] | None = None) -> str:
        """Another bearer token of the same user."""
        return sign_token(self._visitors.jwt_secret, self.user, self.tags if tags is None else tags, ttl_s)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def sign_in(self, edge: int = 0, token: str | None = None) -> httpx.Response:
        """Exchanges a token for a cookie, which it keeps."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        answer = await self.ask("POST", "/v1/session", edge, headers=headers)
        assert answer.status_code == httpx.codes.OK, answer.text
        self.keep_cookie(answer)
        self.sid = answer.json()["sid"]
        return answer

    def keep_cookie(self, answer: httpx.Response) -> None:
        """As a browser does."""
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].split(";", 1)[0]
            self._visitors.secrets |= {self.cookie.split("=", 1)[1]}

    async def ask(
        self, method: str, path: str, edge: int = 0, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """One request, with the cookie if there is one; once more where the edge could not wait for its backends."""
        url = f"{self._visitors.urls[edge]}{path}"
        return await available(
            lambda: self._visitors.http.request(method, url, headers=self._with_cookie(headers), **more)
        )

    async def ticket(self, edge: int = 0, *, headers: Mapping[str, str] | None = None) -> str:
        """A fresh one, by the cookie or by what `headers` say."""
        answer = await self.ask("POST", "/v1/tickets", edge, headers=headers)
        assert answer.status_code == httpx.codes.OK, answer.text
        ticket = str(answer.json()["ticket"])
        self._visitors.secrets |= {ticket}
        return ticket

    async def open(
        self,
        edge: int = 0,
        *,
        path: str = EVENTS,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        topics: Collection[str] | None = None,
        wants: Callable[[str], bool] = lambda _: True,
    ) -> Stream:
        """A stream that has begun.

        Args:
            topics: those that it is owed, where it is not all that are granted by name.
            wants: which event types it is owed.
        """
        response = await available(lambda: self.try_open(edge, path=path, query=query, headers=headers))
        if response.status_code != httpx.codes.OK:
            await response.aread()
            raise AssertionError(f"{response.request.url}: {response.status_code} {response.text}")
        granted = self.tags if topics is None else [f"topic:{topic}" for topic in topics]
        tags = frozenset({f"user:{self.user}", "everyone", *granted} | ({f"session:{self.sid}"} if self.sid else set()))
        name = f"{self.user}#{len(self._visitors.streams) + 1}"
        stream = Stream(response, Reading(name, tags, "", wants=wants))
        self._visitors.streams.append(stream)
        await stream.until(lambda stream: stream.named("connected"))
        return stream

    async def try_open(
        self,
        edge: int = 0,
        *,
        path: str = EVENTS,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer to a request for a stream, whose body is still to be read; the caller closes it."""
        http = self._visitors.http
        request = http.build_request(
            "GET",
            f"{self._visitors.urls[edge]}{path}",
            headers=self._with_cookie(headers),
            params=dict(query or {}),
        )
        return await http.send(request, stream=True)

    async def refused(
        self,
        edge: int = 0,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The whole answer to a request for a stream that must fail."""
        response = await available(lambda: self.try_open(edge, query=query, headers=headers))
        if response.is_success:
            await response.aclose()
            raise AssertionError(f"{response.request.url}: a stream was opened")
        await response.aread()
        return response

    def _with_cookie(self, headers: Mapping[str, str] | None) -> dict[bytes, bytes]:
        """In UTF-8, which is what hostile clients send."""
        cookie = {"Cookie": self.cookie} if self.cookie else {}
        return {name.encode(): value.encode() for name, value in (cookie | dict(headers or {})).items()}


class Visitors:
    """All visitors of one test: one HTTP client without a cookie jar, and all their streams."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        timeout = httpx.Timeout(ANSWER_WITHIN_S, read=60.0)
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        self.http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.streams: list[Stream] = []
        self.secrets: set[str] = set()
        """What no output may hold."""

    @property
    def urls(self) -> Sequence[str]:
        """Of the edges, also of those that were added after the test began."""
        return self.platform.edge_urls

    @property
    def jwt_secret(self) -> str:
        return self.platform.jwt_secret

    def visitor(self, user: str, *tags: str) -> Visitor:
        """A user whose token grants these tags."""
        visitor = Visitor(self, user, tags)
        self.secrets |= {visitor.token}
        return visitor

    async def keep_their_promises(self, publisher: Publisher) -> list[Entry]:
        """Checks every promise once all streams that are still open have come to rest, and returns the log.

        A stream that ended before is owed what came until then.
        """
        last = (await publisher.publish("everyone", type=LAST)).attributes["id"]
        stuck = await self._come_to_rest(last)
        log_id, entries = await self.platform.entries()
        # This platform may serve other tests, too: what came after our last event is theirs.
        through = next(entry.position for entry in entries if entry.id == last)
        readings = [stream.reading for stream in self.streams]
        # First, because it says what is missing where the other says only that something is.
        check_promises(log_id, entries[:through], publisher.confirmed, readings)
        if stuck is not None:
            raise stuck
        return entries[:through]

    async def _come_to_rest(self, last: str) -> AssertionError | None:
        """Leaves each stream once it has the last event; what kept it waiting is returned."""
        stuck: AssertionError | None = None

        def is_done(stream: Stream) -> bool:
            return not stream.is_open or any(each.data["id"] == last for each in stream.reading.deliveries)

        for stream in filter(lambda stream: stream.is_open, self.streams):
            try:
                await stream.until(is_done, SETTLED_WITHIN_S)
            except AssertionError as late:
                stuck = late
            if stream.is_open:
                await stream.leave()
                stream.reading.end = None
        return stuck

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for service in self.platform.services:
                error.add_note(service.tail())
        for stream in self.streams:
            await stream.leave()
        await self.http.aclose()
