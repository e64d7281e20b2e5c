"""Publishers: the same event again until it is answered 202, and a record of every answer."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from shared.model.notification import TYPE as NOTIFICATION
from tests.harness.checker import Confirmed

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
SOURCE = "/tests/harness"
# Promise 5: while a backend is down, an answer comes in bounded time. Longer than this is none.
ANSWER_WITHIN_S = 60.0
# Tests need not wait as long as Retry-After asks of the world.
RETRY_S = 0.25
GIVE_UP_S = 120.0
# Bounds what waits for a broker that is down.
LOAD_IN_FLIGHT = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to."""

    status: int | None
    """None where the connection broke or nobody listened."""
    took_s: float
    retry_after: str | None = None
    body: Any = None


class NotConfirmed(AssertionError):
    """An event was refused for good, or not accepted for two minutes."""


class Publisher:
    """A producer over HTTP."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "Content-Type": STRUCTURED},
            timeout=ANSWER_WITHIN_S,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self.confirmed: list[Confirmed] = []
        self.answers: list[Answer] = []

    async def publish(self, audience: str | None = None, **attributes: Any) -> Confirmed:
        """Publishes one new event, and returns when it was answered 202."""
        return await self.publish_event(new_event(audience, **attributes))

    async def publish_event(self, event: Mapping[str, Any]) -> Confirmed:
        """Sends the same event until it is answered 202."""
        # The same trace at each try, so that it is known whichever of them is stored.
        confirmed = Confirmed(event, trace_id_of(event))
        await self._until_accepted(lambda: self.send(event))
        self.confirmed.append(confirmed)
        return confirmed

    async def publish_batch(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Sends the same batch until all of it is answered 202."""
        await self._until_accepted(lambda: self.send_batch(events))
        self.confirmed += [Confirmed(event, trace_id_of(event)) for event in events]

    async def send(self, event: Mapping[str, Any]) -> Answer:
        """One request, whatever comes of it."""
        return await self._post(event, {"traceparent": f"00-{trace_id_of(event)}-{secrets.token_hex(8)}-01"})

    async def send_batch(self, events: Sequence[Mapping[str, Any]]) -> Answer:
        """One request with all of them, each of which brings its own trace context."""
        return await self._post(events, {"Content-Type": BATCH})

    async def _until_accepted(self, send: Callable[[], Awaitable[Answer]]) -> None:
        give_up_at = time.monotonic() + GIVE_UP_S
        while (answer := await send()).status != httpx.codes.ACCEPTED:
            if answer.status not in (None, httpx.codes.SERVICE_UNAVAILABLE) or time.monotonic() > give_up_at:
                raise NotConfirmed(f"{answer}")
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))

    async def _post(self, body: object, headers: Mapping[str, str]) -> Answer:
        began = time.monotonic()
        try:
            response = await self._client.post("/v1/events", json=body, headers=headers)
        except httpx.TransportError:
            answer = Answer(None, time.monotonic() - began)
        else:
            retry_after = response.headers.get("retry-after")
            answer = Answer(response.status_code, time.monotonic() - began, retry_after, response.json())
        self.answers.append(answer)
        return answer

    @asynccontextmanager
    async def load(self, rate_per_s: float, audiences: Audiences) -> AsyncIterator[None]:
        """Publishes at this rate, or as fast as it is accepted, until the block ends; then all are confirmed."""
        stopping = asyncio.Event()
        running = asyncio.create_task(self._keep_up(rate_per_s, audiences, stopping), name="load")
        try:
            yield
            if running.done():
                running.result()
        except BaseException as error:
            running.cancel()
            [outcome] = await asyncio.gather(running, return_exceptions=True)
            if isinstance(outcome, Exception):
                error.add_note(f"the load had ended: {outcome!r}")
            raise
        stopping.set()
        await running

    async def _keep_up(self, rate_per_s: float, audiences: Audiences, stopping: asyncio.Event) -> None:
        places = asyncio.Semaphore(LOAD_IN_FLIGHT)
        due = time.monotonic()

        async def publish_one() -> None:
            try:
                await self.publish_event(audiences.next_event())
            finally:
                places.release()

        async with asyncio.TaskGroup() as publishing:
            while not stopping.is_set():
                await places.acquire()
                publishing.create_task(publish_one(), name="publish")
                # After a stall the load goes on at its rate; it does not make up for what it missed.
                due = max(due + 1 / rate_per_s, time.monotonic() - 0.1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()


class Audiences:
    """A reproducible mix of events: mostly for one user, some for a topic, for two, for everyone.

    Args:
        notifying: half of them are notifications, which inboxes hold.
    """

    def __init__(self, users: int, topics: int = 3, seed: int = 1, *, notifying: bool = False) -> None:
        self.users = [f"u{number}" for number in range(users)]
        self.topics = [f"builds/{number}" for number in range(topics)]
        self._random = random.Random(seed)
        self._notifying = notifying
        self._numbers: Iterator[int] = iter(range(1_000_000_000))

    def next_event(self) -> dict[str, Any]:
        """A new event to somebody, one in three of them in one of ten streams."""
        number = next(self._numbers)
        subject = {"subject": f"job/{self._random.randrange(10)}"} if self._random.random() < 0.33 else {}
        data = {"number": number, "text": "é\u2028\n" * (number % 3)}
        if self._notifying and number % 2:
            return new_event(self._audience(), type=NOTIFICATION, data=data | {"title": f"number {number}"}, **subject)
        return new_event(self._audience(), data=data, **subject)

    def _audience(self) -> str:
        kind = self._random.random()
        if kind < 0.7:
            return f"user:{self._random.choice(self.users)}"
        if kind < 0.85:
            return f"topic:{self._random.choice(self.topics)}"
        if kind < 0.97:
            return " ".join(f"user:{user}" for user in self._random.sample(self.users, 2))
        return "everyone"


def new_event(audience: str | None = None, **attributes: Any) -> dict[str, Any]:
    """A CloudEvent with an id of its own."""
    event = {"specversion": "1.0", "id": secrets.token_hex(8), "source": SOURCE, "type": "harness.event"}
    return event | ({"audience": audience} if audience else {}) | attributes


def new_traceparent() -> str:
    """A W3C trace context of a trace of its own."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id_of(event: Mapping[str, Any]) -> str:
    """The trace that this harness sends an event in."""
    if "traceparent" in event:
        return str(event["traceparent"]).split("-")[1]
    return hashlib.blake2b(f"{event['source']} {event['id']}".encode(), digest_size=16).hexdigest()
