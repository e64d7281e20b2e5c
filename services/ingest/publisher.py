"""Publishing: checked events become confirmed ones, once, with the context they were created in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.trace import SpanKind

from services.ingest.lookup import PositionLookup
from services.ingest.recent import Published, Recent
from shared.model.content import Content
from shared.model.entry import Entry, Identity
from shared.model.errors import Abandoned, CarillonError, EventTooLarge, IdentityConflict, Unavailable
from shared.model.event import Event
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.telemetry import metrics, tracing
from shared.telemetry.tracing import Draft, link_to
from shared.web.problem import reason_of

# What the log holds under these identities may be as large as events may be, however small the repeats are.
COMPARED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is answered for one accepted event."""

    source: str
    id: str
    duplicate: bool
    """Whether it was published before; then nothing was published now."""
    traceparent: str | None
    """The creation context, as the log has it or will have it."""

    def shown(self) -> dict[str, Any]:
        """The event, as answers name it."""
        return {"source": self.source, "id": self.id, "duplicate": self.duplicate}


Outcome = Receipt | CarillonError


class Publisher:
    """Promise: what a receipt is returned for is in the log or durably on its way there."""

    def __init__(self, broker: Broker, event_log: EventLog, max_event_bytes: int) -> None:
        self._broker, self._event_log = broker, event_log
        self._lookup = PositionLookup(event_log)
        self._recent = Recent[Outcome](time.monotonic)
        self._max_event_bytes = max_event_bytes

    async def publish(
        self, events: Sequence[Event], *, asked: Sequence[Event] | None = None, all_or_nothing: bool = False
    ) -> list[Outcome]:
        """Publishes what was not published before, in this order. Returns for each event a receipt or its error.

        Args:
            asked: the events as they came, where something has been added to them since: a repeat is compared
                by what its producer says, for rules may have changed between two tries.

        - `Unavailable`: it may have been stored; publish it again, and it is in the log once.
        - `IdentityConflict`, `EventTooLarge`: it was not stored.
        - `Abandoned`: with `all_or_nothing`, nothing is published where one of them conflicts or is too large.
        """
        attempts = [self._begun(event, came) for event, came in zip(events, asked or events, strict=True)]
        own = [attempt for attempt in attempts if attempt.known is None]
        try:
            await self._decide(own)
            if all_or_nothing and any(isinstance(attempt.outcome, CarillonError) for attempt in attempts):
                _end(own, Abandoned())
            await self._store([attempt for attempt in own if attempt.outcome is None])
        except CarillonError as failed:
            _end(own, failed)
        finally:
            _end(own, Unavailable("server", "it is stopping"))
            for attempt in own:
                self._settle(attempt)
        return [await attempt.settled() for attempt in attempts]

    def _begun(self, event: Event, asked: Event) -> _Attempt:
        known = self._recent.get((event.source, event.id))
        if known is None:
            return _Attempt(event, asked, self._recent.begin((event.source, event.id), event))
        return _Attempt(event, asked, known, known, _conflict(known, asked))

    async def _decide(self, attempts: Sequence[_Attempt]) -> None:
        """Finds duplicates, and gives the others their contexts: base64 and these make an event longer than it came."""
        if not attempts:
            return
        positions = await self._lookup.positions([attempt.identity for attempt in attempts])
        repeats = [attempt for attempt in attempts if attempt.identity in positions]
        for start in range(0, len(repeats), COMPARED_AT_ONCE):
            await self._compare(repeats[start : start + COMPARED_AT_ONCE], positions)
        for attempt in attempts:
            if attempt.identity not in positions:
                attempt.create()
                attempt.outcome = self._too_large(attempt.body)

    async def _compare(self, repeats: Sequence[_Attempt], positions: Mapping[Identity, int]) -> None:
        entries = await self._event_log.entries([positions[attempt.identity] for attempt in repeats])
        stored = {entry.identity: entry for entry in entries}
        for attempt in repeats:
            attempt.outcome = _duplicate(attempt.asked, stored.get(attempt.identity))

    async def _store(self, attempts: Sequence[_Attempt]) -> None:
        if attempts:
            await self._broker.publish(*(attempt.event for attempt in attempts))
        for attempt in attempts:
            event = attempt.event
            attempt.outcome = Receipt(event.source, event.id, False, event.traceparent)
        metrics.events_accepted.inc(len(attempts))

    def _settle(self, attempt: _Attempt) -> None:
        """Tells those who meet it in `Recent`."""
        outcome = attempt.end()
        if attempt.body and isinstance(outcome, Receipt):
            self._recent.confirm(attempt.identity, attempt.published, outcome, attempt.body)
        else:
            self._recent.fail(attempt.identity, attempt.published, outcome)

    def _too_large(self, body: bytes) -> EventTooLarge | None:
        """As the persister would say."""
        if len(body) <= self._max_event_bytes:
            return None
        problem = f"the event is {len(body)} bytes as JSON with its trace context"
        return EventTooLarge("body", problem, f"send at most {self._max_event_bytes}, or a link to the rest")


@dataclass(slots=True)
class _Attempt:
    """One event on its way to its outcome."""

    event: Event
    asked: Event
    published: Published[Outcome]
    known: Published[Outcome] | None = None
    """Where the event was published by another call, or by this one before."""
    outcome: Outcome | None = None
    body: bytes = b""
    span: Draft | None = None

    @property
    def identity(self) -> Identity:
        return self.event.source, self.event.id

    def create(self) -> None:
        """Begins the span that is the creation context."""
        self.span = tracing.draft(self.event.traceparent)
        self.event = _with_creation_context(self.event, self.span)
        self.body = self.event.to_json()

    def end(self) -> Outcome:
        assert self.outcome is not None
        if self.span is not None and self.span.is_recorded:
            _record(self.span, self.asked, self.outcome)
        return self.outcome

    async def settled(self) -> Outcome:
        """Only after our own are settled: others may wait for those while we wait for theirs."""
        if self.outcome is None:
            assert self.known is not None
            self.outcome = _as_repeat(await self.known.outcome())
        return self.outcome


def _end(attempts: Sequence[_Attempt], error: CarillonError) -> None:
    for attempt in attempts:
        attempt.outcome = attempt.outcome or error


def _conflict(known: Published[Outcome], repeat: Event) -> IdentityConflict | None:
    try:
        known.check_repeat(repeat)
    except IdentityConflict as conflict:
        return conflict
    return None


def _as_repeat(first: Outcome) -> Outcome:
    if not isinstance(first, Receipt):
        return first
    metrics.events_duplicate.labels("ingest").inc()
    return replace(first, duplicate=True)


def _duplicate(event: Event, stored: Entry | None) -> Outcome:
    """Names the context of the stored event: this one is dropped, and its trace leads nowhere.

    Args:
        stored: None where retention took it in this moment.
    """
    if stored is not None:
        try:
            Content.of_entry(stored).check_repeat(Content.of(event))
        except IdentityConflict as conflict:
            return conflict
    metrics.events_duplicate.labels("ingest").inc()
    return Receipt(event.source, event.id, True, stored.traceparent if stored else event.traceparent)


def _record(span: Draft, event: Event, outcome: Outcome) -> None:
    """The span of a publish: it links to the context that the event brought."""
    attributes = tracing.about(event.source, event.id, event.type) | {
        "messaging.destination.name": tracing.EVENTS,
        "messaging.operation.type": "send",
        tracing.STEP: "accepted",
    }
    failed = isinstance(outcome, CarillonError)
    if isinstance(outcome, CarillonError):
        attributes |= tracing.failure(outcome, reason_of(outcome))
    link = link_to(event.traceparent, event.tracestate)
    tracing.end(span, f"publish {tracing.EVENTS}", SpanKind.PRODUCER, attributes, [link] if link else [], failed)


def _with_creation_context(event: Event, span: Draft) -> Event:
    """The event with the span as its creation context; one that it brought is kept untouched."""
    if event.traceparent is not None:
        return event
    traceparent, tracestate = span.headers
    context = {"traceparent": traceparent} | ({"tracestate": tracestate} if tracestate else {})
    # Not checked again: a draft has nothing else.
    return event.model_copy(update=context)
