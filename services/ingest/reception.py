"""The reception: whatever comes in by HTTP, as a webhook, by JSON-RPC or by any other door is accepted here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ingest.publisher import Outcome, Publisher, Receipt
from shared.model.errors import Abandoned, Busy, CarillonError, IdentityConflict, InvalidEvent, RateLimited, Unavailable
from shared.model.event import Event
from shared.model.producer import Producer
from shared.model.rates import Rates
from shared.model.tags import audience_text, is_internal
from shared.telemetry import metrics
from shared.web.problem import reason_of

# Some ten times what the broker confirms at a time: the last of them waits a fraction of a second. Over it the
# answer is 503 at once: waiting here would hold memory without bound, while the client's retry costs nothing.
MAX_PUBLISHES_IN_FLIGHT = 2000
# Events of a batch that are looked at before others get their turn: with rules, some milliseconds.
ADMITTED_AT_ONCE = 20
# How the types of Carillon's own events begin.
OWN_TYPES = "carillon."
# Of the time that a backend has for one call: an accepted event takes several, and its caller is told in time.
SHARE_OF_TIMEOUT = 0.9


_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An event that may be published, as it will be, with what is said about it."""

    asked: Event
    """As it came."""
    event: Event
    notifications: tuple[Event, ...]


class Reception:
    """Promise: what a receipt is returned for is in the log or durably on its way, with what rules made of it.

    Every door hands its events here, so that each is held to the same: scope of its producer, control tags,
    catalogue, rules, size, places, duplicates.

    Args:
        timeout_s: what a backend has for one call. Whoever hands events in is answered within it.
        check: the catalogue's; raises `InvalidEvent` for an event that breaks the schema of its type.
    """

    def __init__(
        self,
        publisher: Publisher,
        timeout_s: float,
        rules: Rules | None = None,
        check: Callable[[Event], None] = anything,
    ) -> None:
        self._publisher, self._rules, self._check = publisher, rules or NoRules(), check
        self._answer_within_s = timeout_s * SHARE_OF_TIMEOUT
        self._free_places = MAX_PUBLISHES_IN_FLIGHT
        self._rates = Rates()

    async def accept(
        self, events: Sequence[Event], producer: Producer, *, all_or_nothing: bool = False
    ) -> list[Receipt | Refused]:
        """An outcome for each event, in their order. Raises nothing that concerns an event.

        What differs from one try to the next must not be in an event's content: the same `source` and
        `id` with other content is refused. Trace context and `time` may differ.

        Args:
            all_or_nothing: where one of them is refused, none is published. A backend that fails on the way
                may still have stored some: the same events again complete it.
        """
        outcomes = await self._outcomes(events, producer, all_or_nothing)
        return [
            outcome if isinstance(outcome, Receipt) else Refused(event.source, event.id, outcome)
            for event, outcome in zip(events, outcomes, strict=True)
        ]

    async def accept_one(self, event: Event, producer: Producer) -> Receipt:
        """Accepts one event. Raises what it is refused for: `InvalidEvent` and its kinds, `Busy`, `Unavailable`."""
        (outcome,) = await self._outcomes([event], producer, False)
        if isinstance(outcome, CarillonError):
            raise outcome
        return outcome

    def admit(self, event: Event, producer: Producer) -> None:
        """Returns where the event would be accepted, as far as that can be told without publishing it.

        Raises `InvalidEvent`, for what is wrong with it or what its producer may not say.
        """
        producer.check(event)
        _refuse_ours(event)
        self._check(event)

    async def _outcomes(self, events: Sequence[Event], producer: Producer, all_or_nothing: bool) -> list[Outcome]:
        over = self._over_rate(producer, len(events))
        admitted: list[_Admitted | CarillonError] = []
        for number, event in enumerate(events, 1):
            admitted.append(over or self._admitted(event, producer))
            if number % ADMITTED_AT_ONCE == 0:
                await asyncio.sleep(0)
        if all_or_nothing and any(isinstance(one, CarillonError) for one in admitted):
            admitted = [one if isinstance(one, CarillonError) else Abandoned() for one in admitted]
        published = iter(await self._published([one for one in admitted if isinstance(one, _Admitted)], all_or_nothing))
        outcomes = [next(published) if isinstance(one, _Admitted) else one for one in admitted]
        for outcome in outcomes:
            if isinstance(outcome, CarillonError):
                metrics.events_refused.labels(reason_of(outcome)).inc()
        return outcomes

    def _over_rate(self, producer: Producer, count: int) -> RateLimited | None:
        """Each process counts for itself."""
        if producer.events_per_s is None or not count:
            return None
        wait_s = self._rates.take(producer.name, producer.events_per_s, time.monotonic(), count)
        if not wait_s:
            return None
        return RateLimited(
            f"the producer {producer.name!r} may publish {producer.events_per_s:g} events a second", wait_s
        )

    def _admitted(self, event: Event, producer: Producer) -> _Admitted | CarillonError:
        try:
            self.admit(event, producer)
        except InvalidEvent as refused:
            return refused
        routing = self._rules.route(event)
        return _Admitted(event, _with_audience(event, routing.audience), routing.notifications)

    async def _published(self, admitted: Sequence[_Admitted], all_or_nothing: bool) -> list[Outcome]:
        """Publishes within the time, or says that it is unknown; whoever asked may have gone meanwhile."""
        places = sum(1 + len(one.notifications) for one in admitted)
        # Who needs more places than there are goes alone: waiting would never end that.
        if places > self._free_places < MAX_PUBLISHES_IN_FLIGHT or not self._free_places:
            return [Busy("as many publishes are under way as this server takes")] * len(admitted)
        if not admitted:
            return []
        self._free_places -= places
        # A task of its own: cut short, a call of a backend would not find out that a connection is dead.
        publishing = asyncio.create_task(self._publish(admitted, all_or_nothing), name="ingest-publish")
        publishing.add_done_callback(lambda _: self._give_back(places))
        done, _ = await asyncio.wait([publishing], timeout=self._answer_within_s)
        if done:
            return publishing.result()
        return [Unavailable("broker or log", f"no answer within {self._answer_within_s:g} s")] * len(admitted)

    def _give_back(self, places: int) -> None:
        self._free_places += places

    async def _publish(self, admitted: Sequence[_Admitted], all_or_nothing: bool) -> list[Outcome]:
        """The events, then what is said about those that were accepted, now or before.

        Before, because its first try may have ended between the two.
        """
        events, asked = [one.event for one in admitted], [one.asked for one in admitted]
        outcomes = await self._publisher.publish(events, asked=asked, all_or_nothing=all_or_nothing)
        said = [
            (number, notification)
            for number, outcome in enumerate(outcomes)
            if isinstance(outcome, Receipt)
            for notification in admitted[number].notifications
        ]
        told = await self._publisher.publish([notification for _, notification in said]) if said else []
        for (number, notification), outcome in zip(said, told, strict=True):
            if isinstance(outcome, Unavailable):
                outcomes[number] = outcome
            elif isinstance(outcome, CarillonError) and not isinstance(outcome, IdentityConflict):
                # A conflict is a rule that was reworded between two tries: it was said in its former words.
                _log.warning("%s was not published: %s", notification.id, outcome)
        return outcomes


def _refuse_ours(event: Event) -> None:
    """What only Carillon says: a producer could tell that an operator did something.

    Control tags reach the edges themselves: a producer could sign users out with them.
    """
    if event.type.startswith(OWN_TYPES):
        raise InvalidEvent("type", f"{event.type!r} is for Carillon's own events", "name the event after what happened")
    if control := [tag for tag in event.tags if is_internal(tag)]:
        raise InvalidEvent(
            "audience", f"{control[0]!r} is for Carillon's own events", "address users, topics or everyone"
        )


def _with_audience(event: Event, tags: Sequence[str]) -> Event:
    """The event, for these as well. Not checked again: rules make lawful tags, and few."""
    if not tags:
        return event
    return event.model_copy(update={"audience": audience_text(dict.fromkeys((*event.tags, *tags)))})
