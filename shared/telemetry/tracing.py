"""OpenTelemetry: who makes which span, and how its context travels.

The PRODUCER span of the publish is the creation context: its `traceparent` is stored with the
event, unchanged, and every later span of that event is its child or links to it.
Source: the messaging conventions of OpenTelemetry, https://opentelemetry.io/docs/specs/semconv/messaging/
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.telemetry.sampling import EventSampler

# Destinations as span names tell them: of low cardinality, whatever the namespace and the adapter.
SYSTEM = "rabbitmq"
EVENTS = "carillon.events"
LOG = "carillon.log"
RPC = "carillon.rpc"
DELIVERIES = "carillon.deliveries"

# What a span says of its event; and which step of the event's journey it is, where it is one.
EVENT_ID, EVENT_SOURCE, EVENT_TYPE = "messaging.message.id", "cloudevents.event_source", "cloudevents.event_type"
POSITION, STEP = "carillon.position", "carillon.step"
USER, CONNECTION, EDGE, REPLAYED = "user.id", "carillon.connection", "carillon.edge", "carillon.replayed"
BATCH_COUNT, OTHERS_COUNT = "messaging.batch.message_count", "carillon.others"
# Why the step led nowhere for somebody: `SKIPPED` as it should be, `FAILED` as it should not.
SKIPPED, FAILED = "carillon.skipped", "carillon.failed"

Attributes = Mapping[str, str | int | float | bool]

# As a tracer of this name has it.
_SCOPE = InstrumentationScope("carillon", "", "")
_PROPAGATOR = TraceContextTextMapPropagator()
_ODD_DIGITS = "13579bdf"
_SAMPLED, _UNSAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class _Tracing:
    """What this process does with traces. Off until `set_up`: contexts are passed on, and nothing is recorded."""

    def __init__(self, resource: Resource, ratio: float, processors: Sequence[SpanProcessor]) -> None:
        self.resource, self.processors = resource, processors
        self.is_on = ratio > 0 and bool(processors)
        self.sampler = EventSampler(ratio)
        self.provider = TracerProvider(sampler=self.sampler if self.is_on else ALWAYS_OFF, resource=resource)
        for processor in processors:
            self.provider.add_span_processor(processor)
        self.tracer = self.provider.get_tracer(_SCOPE.name)
        self.new_span_id = self.provider.id_generator.generate_span_id
        self.new_trace_id = self.provider.id_generator.generate_trace_id


_tracing = _Tracing(Resource.get_empty(), 0.0, ())


def set_up(resource: Resource, ratio: float, *processors: SpanProcessor) -> None:
    """Has this process record its spans from now on, for these processors.

    Args:
        ratio: of the traces that begin here; those that others began are recorded as they decided.
            With 0 nothing is recorded, whatever others decided.
    """
    global _tracing
    _tracing = _Tracing(resource, ratio, processors)


def turn_off() -> None:
    """Records nothing from now on; contexts are passed on all the same."""
    set_up(Resource.get_empty(), 0.0)


def is_on() -> bool:
    """Whether this process records anything."""
    return _tracing.is_on


def is_traced(traceparent: str | None) -> bool:
    """Whether spans of this context are recorded here. Cheap: hot paths ask it for each entry."""
    return _tracing.is_on and traceparent is not None and traceparent[-1] in _ODD_DIGITS


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace that tells more of this event; None where none is recorded."""
    return traceparent[3:35] if traceparent is not None and is_traced(traceparent) else None


@contextmanager
def span(
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    *,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A span around what happens inside, current there. Whether what it raised is a failure, the caller says.

    Args:
        parent: the current span where left out; an empty context begins a trace.
    """
    if not _tracing.is_on:
        with trace.use_span(_passing_on(parent), record_exception=False, set_status_on_exception=False) as passing:
            yield passing
        return
    with _tracing.tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as started:
        yield started


def begin(
    name: str, kind: SpanKind, attributes: Attributes, *, parent: Context | None = None, links: Sequence[Link] = ()
) -> Span:
    """The same as a span that whoever holds it ends; never current."""
    if not _tracing.is_on:
        return _passing_on(parent)
    return _tracing.tracer.start_span(name, context=parent, kind=kind, attributes=attributes, links=links)


def fail(failed: Span, error: BaseException | str, reason: str | None = None) -> None:
    """Marks the span as failed, by the error's type: its text may tell more than a tracing backend should know.

    Args:
        reason: what the step of the journey says, where the span is one.
    """
    failed.set_attributes(failure(error, reason))
    failed.set_status(Status(StatusCode.ERROR))


def failure(error: BaseException | str, reason: str | None = None) -> dict[str, str]:
    """What a span that failed says about it, as `fail` does."""
    told = {"error.type": error if isinstance(error, str) else type(error).__name__}
    return told if reason is None else {**told, FAILED: reason}


def record(
    name: str,
    kind: SpanKind,
    parent: str | None,
    attributes: Attributes,
    began_ns: int,
    ended_ns: int,
    *,
    links: Sequence[Link] = (),
    failed: bool = False,
) -> str:
    """A span that is over already; returns its `traceparent`.

    Made by hand where thousands a second are: a tracer's own span, with its locks, its sampler and a
    parent to be parsed, takes 39 µs of processor, and this 6.

    Args:
        parent: a `traceparent` for which `is_traced` holds; None begins a trace.
    """
    above = _sampled(parent) if parent is not None else None
    trace_id = above.trace_id if above is not None else _tracing.new_trace_id()
    context = SpanContext(trace_id, _tracing.new_span_id(), False, _SAMPLED)
    _emit(Draft(context, above, began_ns), name, kind, attributes, ended_ns, links, failed)
    return _traceparent(context)


@dataclass(frozen=True, slots=True)
class Draft:
    """A span that has begun, and so has a context; whether there is more to it is for whoever ends it to say."""

    context: SpanContext
    parent: SpanContext | None
    began_ns: int

    @property
    def headers(self) -> tuple[str, str | None]:
        """Its context as (`traceparent`, `tracestate`)."""
        return _traceparent(self.context), self.context.trace_state.to_header() or None

    @property
    def is_recorded(self) -> bool:
        """Whether `end` will have it recorded."""
        return _tracing.is_on and self.context.trace_flags.sampled


def draft(linked: str | None = None, *, parent: Context | None = None) -> Draft:
    """Begins a span for `end`; made by hand for the same reason as `record`.

    Args:
        linked: the `traceparent` of what it will link to: recorded for the sake of that, too.
        parent: the current span where left out; an empty context begins a trace.
    """
    above = trace.get_current_span(parent).get_span_context()
    if above.is_valid and not _tracing.is_on:
        return Draft(above, None, 0)
    trace_id = above.trace_id if above.is_valid else _tracing.new_trace_id()
    if above.is_valid or linked is not None:
        sampled = above.trace_flags.sampled or is_traced(linked)
    else:
        sampled = _tracing.is_on and _tracing.sampler.takes(trace_id)
    flags = _SAMPLED if sampled else _UNSAMPLED
    context = SpanContext(trace_id, _tracing.new_span_id(), False, flags, above.trace_state)
    return Draft(context, above if above.is_valid else None, time.time_ns())


@contextmanager
def within(drafted: Draft) -> Iterator[None]:
    """Has the draft be the current span inside: what begins there is its child."""
    token = attach(trace.set_span_in_context(NonRecordingSpan(drafted.context)))
    try:
        yield
    finally:
        detach(token)


def end(drafted: Draft, name: str, kind: SpanKind, attributes: Attributes, links: Sequence[Link], failed: bool) -> None:
    """The draft `is_recorded`, and is over now."""
    _emit(drafted, name, kind, attributes, time.time_ns(), links, failed)


def _emit(
    drafted: Draft,
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    ended_ns: int,
    links: Sequence[Link],
    failed: bool,
) -> None:
    made = ReadableSpan(
        name,
        context=drafted.context,
        parent=drafted.parent,
        resource=_tracing.resource,
        attributes=attributes,
        links=links,
        kind=kind,
        status=Status(StatusCode.ERROR) if failed else Status(StatusCode.UNSET),
        start_time=drafted.began_ns,
        end_time=ended_ns,
        instrumentation_scope=_SCOPE,
    )
    for processor in _tracing.processors:
        processor.on_end(made)


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _sampled(traceparent: str) -> SpanContext:
    return SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), True, _SAMPLED)


def about(source: str, id_: str, type_: str) -> dict[str, str | int]:
    """What every span of an event says of it."""
    return {"messaging.system": SYSTEM, EVENT_ID: id_, EVENT_SOURCE: source, EVENT_TYPE: type_}


def context_of(traceparent: str | None, tracestate: str | None = None) -> Context:
    """W3C headers -> a context to be a parent; an empty one where they name none."""
    if not traceparent:
        return Context()
    carrier = {"traceparent": traceparent, "tracestate": tracestate or ""}
    return _PROPAGATOR.extract(carrier, context=Context())


def headers_of(span: Span) -> tuple[str, str | None]:
    """The span's context as (`traceparent`, `tracestate`)."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier["traceparent"], carrier.get("tracestate")


def new_traceparent() -> str:
    """The context of an event that nobody traced: a trace of its own."""
    trace_id = secrets.randbits(128) or 1
    sampled = _tracing.is_on and _tracing.sampler.takes(trace_id)
    return f"00-{trace_id:032x}-{secrets.token_hex(8)}-0{int(sampled)}"


def link_to(
    traceparent: str | None, tracestate: str | None = None, attributes: Attributes | None = None
) -> Link | None:
    """A link to the span that the headers name; None where they name none."""
    if tracestate is None and traceparent is not None and is_traced(traceparent):
        # Nothing to parse: it was checked where it came in, and persisters link thousands a second.
        return Link(_sampled(traceparent), attributes)
    context: SpanContext = trace.get_current_span(context_of(traceparent, tracestate)).get_span_context()
    return Link(context, attributes) if context.is_valid else None


def _passing_on(parent: Context | None) -> Span:
    """The parent itself, as whoever does not take part passes it on; a new context where there is none."""
    context = trace.get_current_span(parent).get_span_context()
    if not context.is_valid:
        context = SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, False, TraceFlags())
    return NonRecordingSpan(context)
