"""The spans of this process, as an exporter sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry import tracing


@contextmanager
def recorded_spans(ratio: float = 1.0) -> Iterator[InMemorySpanExporter]:
    """Records every span that ends inside."""
    exporter = InMemorySpanExporter()
    tracing.set_up(Resource.create({"service.name": "carillon-test"}), ratio, SimpleSpanProcessor(exporter))
    try:
        yield exporter
    finally:
        tracing.turn_off()


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent is not None else None
