"""The reception: whatever comes in by HTTP, as a webhook, by JSON-RPC or by any other door is accepted here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from services.ingest.publisher import Publisher, Receipt
from shared.model.errors import Busy, CarillonError, InvalidEvent
from shared.model.event import Event
from shared.model.producer import Producer
from shared.model.tags import CONTROL, audience_text
from shared.telemetry import metrics
from shared.web.problem import reason_of

# With each holding an event of the default 256 KiB, 128 MiB; and beyond some hundred outstanding
# confirms brokers get slower, not faster. Over it the answer is 503 at once: waiting here would
# hold memory without bound, while the client's retry costs nothing.
MAX_PUBLISHES_IN_FLIGHT = 512


class Routing(Protocol):
    """What rules make of an event."""

    @property
    def audience(self) -> tuple[str, ...]:
        """Tags that are added to those of the event itself."""
        ...

    @property
    def notifications(self) -> tuple[Event, ...]:
        """Events that are published after it; their ids follow from its identity."""
        ...


class Rules(Protocol):
    """What decides whom an event concerns. Pure, and quick: the loop stands still meanwhile."""

    def route(self, event: Event) -> Routing:
        """Never raises: a rule that fails for an event matches it not."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """What is answered for one event that was not accepted."""

    source: str
    id: str
    error: CarillonError
    """Says why. After `Unavailable` and `Busy` the event may be sent again; nobody may say that it was accepted."""


class _Unrouted:
    audience: tuple[str, ...] = ()
    notifications: tuple[Event, ...] = ()


class NoRules:
    """Routes nothing."""

    def route(self, event: Event) -> Routing:
        return _Unrouted()


def anything(event: Event) -> None:
    """A catalogue without types."""


class Reception:
    """Promise: what a receipt is returned for is in the log or durably on its way, with what rules made of it.

    Every door hands its events here, so that each is held to the same: scope of its producer, control tags,
    catalogue, rules, size, places, duplicates.

    Args:
        check: the catalogue's; raises `InvalidEvent` for an event that breaks the schema of its type.
    """

    def __init__(
        self, publisher: Publisher, rules: Rules | None = None, check: Callable[[Event], None] = anything
    ) -> None:
        self._publisher, self._rules, self._check = publisher, rules or NoRules(), check
        self._places = Places(MAX_PUBLISHES_IN_FLIGHT)

    async def accept(self, events: Sequence[Event], producer: Producer) -> list[Receipt | Refused]:
        """An outcome for each event, in their order. Raises nothing that concerns an event.

        What differs from one try to the next must not be in an event's content: the same `source` and
        `id` with other content is refused. Trace context and `time` may differ.
        """
        return await asyncio.gather(*(self._outcome(event, producer) for event in events))

    async def accept_one(self, event: Event, producer: Producer) -> Receipt:
        """Accepts one event. Raises what it is refused for: `InvalidEvent` and its kinds, `Busy`, `Unavailable`."""
        try:
            return await self._accept(event, producer)
        except CarillonError as refused:
            metrics.events_refused.labels(reason_of(refused)).inc()
            raise

    async def _accept(self, event: Event, producer: Producer) -> Receipt:
        self._admit(event, producer)
        with self._places.taken():
            routing = self._rules.route(event)
            receipt = await self._publisher.publish(_with_audience(event, routing.audience))
            for notification in routing.notifications:
                await self._publisher.publish(notification)
        return receipt

    def _admit(self, event: Event, producer: Producer) -> None:
        producer.check(event)
        _refuse_control(event)
        self._check(event)

    async def _outcome(self, event: Event, producer: Producer) -> Receipt | Refused:
        try:
            return await self.accept_one(event, producer)
        except CarillonError as refused:
            return Refused(event.source, event.id, refused)


class Places:
    """A bound on what is in flight, that refuses instead of waiting."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds one place. Raises `Busy` where none is free."""
        if self._free == 0:
            raise Busy("as many publishes are under way as this server takes")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def _refuse_control(event: Event) -> None:
    """Control tags reach the edges themselves: a producer could sign users out with them."""
    if control := [tag for tag in event.tags if tag.startswith(f"{CONTROL}:")]:
        raise InvalidEvent(
            "audience", f"{control[0]!r} is for Carillon's own events", "address users, topics or everyone"
        )


def _with_audience(event: Event, tags: Sequence[str]) -> Event:
    """The event, for these as well. Not checked again: rules make lawful tags, and few."""
    if not tags:
        return event
    return event.model_copy(update={"audience": audience_text(dict.fromkeys((*event.tags, *tags)))})
