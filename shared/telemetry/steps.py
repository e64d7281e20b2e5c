"""Spans as steps of the journeys of events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode

from shared.ports.journeys import DONE, FAILED, SKIPPED, Step
from shared.telemetry import tracing

# What a step tells of these attributes, and under which name.
_TOLD = {
    tracing.POSITION: "position",
    tracing.USER: "user",
    tracing.CONNECTION: "connection",
    tracing.EDGE: "edge",
    tracing.REPLAYED: "replayed",
    tracing.OTHERS_COUNT: "others",
    tracing.BATCH_COUNT: "batch",
    tracing.EVENT_TYPE: "type",
}


def steps_of(span: ReadableSpan, service: str) -> Iterator[Step]:
    """The steps that a span stands for: none, one, or one for each event that a batch links to.

    Args:
        service: the process that made the span.
    """
    attributes: Mapping[str, Any] = span.attributes or {}
    if tracing.STEP not in attributes or span.context is None:
        return
    if tracing.EVENT_ID in attributes:
        yield _step(span, span.context, attributes, service)
        return
    for link in span.links:
        if link.attributes and tracing.EVENT_ID in link.attributes:
            # In the event's own trace: that is where it is looked for.
            yield _step(span, link.context, {**attributes, **link.attributes}, service)


def _step(span: ReadableSpan, context: SpanContext, attributes: Mapping[str, Any], service: str) -> Step:
    outcome, reason = _outcome(span, attributes)
    assert span.context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    return Step(
        stage=attributes[tracing.STEP],
        source=attributes.get(tracing.EVENT_SOURCE, ""),
        id=attributes[tracing.EVENT_ID],
        trace=f"{context.trace_id:032x}",
        span=f"{span.context.span_id:016x}",
        parent=f"{span.parent.span_id:016x}" if span.parent is not None else None,
        began_us=span.start_time // 1000,
        took_us=max(0, span.end_time - span.start_time) // 1000,
        service=service,
        outcome=outcome,
        reason=reason,
        about={name: _text(attributes[key]) for key, name in _TOLD.items() if attributes.get(key)},
    )


def _outcome(span: ReadableSpan, attributes: Mapping[str, Any]) -> tuple[str, str | None]:
    if reason := attributes.get(tracing.FAILED):
        return FAILED, str(reason)
    if span.status.status_code is StatusCode.ERROR:
        return FAILED, str(attributes.get("error.type", "error"))
    if reason := attributes.get(tracing.SKIPPED):
        return SKIPPED, str(reason)
    return DONE, None


def _text(value: object) -> str:
    return "true" if value is True else str(value)
