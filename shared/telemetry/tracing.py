"""OpenTelemetry: who makes which span, and how its context travels.

The PRODUCER span of the publish is the creation context: its `traceparent` is stored with the
event, unchanged, and every later span of that event is its child or links to it.
Source: the messaging conventions of OpenTelemetry, https://opentelemetry.io/docs/specs/semconv/messaging/
"""

from __future__ import annotations

import secrets

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Link, Span, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Destinations as span names tell them: of low cardinality, whatever the namespace and the adapter.
SYSTEM = "rabbitmq"
EVENTS = "carillon.events"
LOG = "carillon.log"
RPC = "carillon.rpc"
DELIVERIES = "carillon.deliveries"

_PROPAGATOR = TraceContextTextMapPropagator()
_exporting = False


def set_up(service: str, *processors: SpanProcessor) -> None:
    """Makes this process a source of traces; call once, before any span.

    Without processors trace contexts are still made and passed on, and nothing is recorded.
    """
    global _exporting
    provider = TracerProvider(resource=Resource.create({"service.name": f"carillon-{service}"}))
    for processor in processors:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    _exporting = bool(processors)


def is_exporting() -> bool:
    """Whether anybody receives spans; the hot paths make none otherwise."""
    return _exporting


def tracer() -> trace.Tracer:
    """The one tracer of this process."""
    return trace.get_tracer("carillon")


def context_of(traceparent: str | None, tracestate: str | None = None) -> Context:
    """W3C headers -> a context to be a parent; an empty one where they name none."""
    carrier = {"traceparent": traceparent or "", "tracestate": tracestate or ""}
    return _PROPAGATOR.extract(carrier, context=Context())


def headers_of(span: Span) -> tuple[str, str | None]:
    """The span's context as (`traceparent`, `tracestate`)."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier["traceparent"], carrier.get("tracestate")


def new_traceparent() -> str:
    """The context of an event that nobody traced: a trace of its own, not sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def link_to(traceparent: str | None, tracestate: str | None = None) -> Link | None:
    """A link to the span that the headers name; None where they name none."""
    context: SpanContext = trace.get_current_span(context_of(traceparent, tracestate)).get_span_context()
    return Link(context) if context.is_valid else None
