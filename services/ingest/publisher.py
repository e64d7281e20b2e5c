"""Publishing: a checked event becomes a confirmed one, once, with the context it was created in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from services.ingest.lookup import PositionLookup
from shared.model.errors import CarillonError, EventTooLarge
from shared.model.event import Event
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.telemetry import metrics, tracing
from shared.telemetry.tracing import headers_of, is_exporting, link_to, tracer


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is answered for one accepted event."""

    source: str
    id: str
    duplicate: bool
    """Whether the log held it already; then nothing was published."""
    traceparent: str | None
    """The creation context, as the log has it or will have it."""


class Publisher:
    """Promise: once a receipt is returned, the event is in the log or durably on its way there."""

    def __init__(self, broker: Broker, event_log: EventLog, max_event_bytes: int) -> None:
        self._broker, self._event_log = broker, event_log
        self._lookup = PositionLookup(event_log)
        self._max_event_bytes = max_event_bytes

    async def publish(self, event: Event) -> Receipt:
        """Publishes, unless the log holds the event. Raises `Unavailable`, `EventTooLarge`.

        After `Unavailable` the event may have been stored: publish it again, and it is in the log once.
        """
        position = await self._lookup.position((event.source, event.id))
        if position is not None:
            metrics.events_duplicate.labels("ingest").inc()
            return await self._receipt_of_duplicate(event, position)
        with self._producer_span(event) as span:
            try:
                created = with_creation_context(event, span)
                self._check_size(created)
                await self._broker.publish(created)
            except CarillonError as failed:
                span.set_status(Status(StatusCode.ERROR, str(failed)))
                raise
        metrics.events_accepted.inc()
        return Receipt(created.source, created.id, False, created.traceparent)

    async def _receipt_of_duplicate(self, event: Event, position: int) -> Receipt:
        """Names the context of the stored event: this one is dropped, and its trace leads nowhere."""
        page = await self._event_log.read(position - 1, 1)
        stored = next((entry for entry in page.entries if entry.identity == (event.source, event.id)), None)
        return Receipt(event.source, event.id, True, stored.traceparent if stored else event.traceparent)

    def _producer_span(self, event: Event) -> AbstractContextManager[Span]:
        link = link_to(event.traceparent, event.tracestate)
        attributes = {
            "messaging.system": tracing.SYSTEM,
            "messaging.destination.name": tracing.EVENTS,
            "messaging.operation.type": "send",
            "messaging.message.id": event.id,
        }
        return tracer().start_as_current_span(
            f"publish {tracing.EVENTS}",
            kind=SpanKind.PRODUCER,
            links=[link] if link else None,
            attributes=attributes if is_exporting() else None,
            record_exception=False,
        )

    def _check_size(self, event: Event) -> None:
        """As the persister will: base64 and the trace context make an event longer than its request."""
        size_bytes = len(event.to_json())
        if size_bytes > self._max_event_bytes:
            problem = f"the event is {size_bytes} bytes as JSON with its trace context"
            raise EventTooLarge("body", problem, f"send at most {self._max_event_bytes}, or a link to the rest")


def with_creation_context(event: Event, span: Span) -> Event:
    """The event with the span as its creation context; one that it brought is kept untouched."""
    if event.traceparent is not None:
        return event
    traceparent, tracestate = headers_of(span)
    context = {"traceparent": traceparent} | ({"tracestate": tracestate} if tracestate else {})
    # Not checked again: the propagator makes nothing else.
    return event.model_copy(update=context)
