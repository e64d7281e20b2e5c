"""Which spans are recorded, and what is passed on where none is."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind

from shared.telemetry import tracing
from shared.telemetry.sampling import EventSampler
from tests.harness.spans import parent_id, recorded_spans, span_id, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(
    ("parent", "links", "ratio", "recorded"),
    [
        (SAMPLED, [], 0.0001, True),
        (UNSAMPLED, [], 1.0, False),
        (None, [], 1.0, True),
        (None, [], 1e-12, False),
        (None, [UNSAMPLED, SAMPLED], 1e-12, True),
        (None, [UNSAMPLED], 1.0, False),
        (UNSAMPLED, [SAMPLED], 1e-12, True),
    ],
)
def test_what_is_recorded(parent: str | None, links: list[str], ratio: float, recorded: bool) -> None:
    made = [link for link in map(tracing.link_to, links) if link is not None]
    with (
        recorded_spans(ratio) as spans,
        tracing.span("work", SpanKind.INTERNAL, {}, parent=tracing.context_of(parent), links=made) as span,
    ):
        assert span.is_recording() is recorded
        traceparent, _ = tracing.headers_of(span)
        assert tracing.is_traced(traceparent) is recorded
    assert [span.name for span in spans.get_finished_spans()] == ["work"] * recorded


def test_all_processes_decide_alike() -> None:
    """By the trace id alone: a trace that one process records is recorded by all."""
    ids = [number << 20 for number in range(1, 2000)]
    taken = {ratio: {id_ for id_ in ids if EventSampler(ratio).takes(id_ * 0x9E3779B97F4A7C15)} for ratio in (0.1, 0.5)}
    assert taken[0.1] <= taken[0.5]
    assert 0.07 < len(taken[0.1]) / len(ids) < 0.13


@pytest.mark.parametrize("parent", [SAMPLED, UNSAMPLED])
def test_off_records_nothing_and_passes_the_callers_context_on(parent: str) -> None:
    with recorded_spans(0.0) as spans:
        context = tracing.context_of(parent, "vendor=1")
        with (
            tracing.span("outer", SpanKind.SERVER, {}, parent=context),
            tracing.span("in", SpanKind.PRODUCER, {}) as on,
        ):
            assert tracing.headers_of(on) == (parent, "vendor=1")
        assert not tracing.is_traced(parent)
    assert spans.get_finished_spans() == ()


def test_off_an_event_that_nobody_traced_has_a_context_all_the_same() -> None:
    with tracing.span("publish", SpanKind.PRODUCER, {}, parent=tracing.context_of(None)) as span:
        traceparent, tracestate = tracing.headers_of(span)
    assert traceparent.endswith("-00")
    assert tracestate is None
    assert tracing.new_traceparent().endswith("-00")


def test_new_contexts_are_sampled_by_the_ratio() -> None:
    with recorded_spans(1.0):
        assert tracing.is_traced(tracing.new_traceparent())
    with recorded_spans(0.25):
        sampled = sum(tracing.is_traced(tracing.new_traceparent()) for _ in range(2000))
    assert 400 < sampled < 600


def test_a_span_made_by_hand_is_what_a_tracer_would_have_made() -> None:
    with recorded_spans() as spans:
        with tracing.span("parent", SpanKind.PRODUCER, {}, parent=tracing.context_of(None)) as parent:
            traceparent, _ = tracing.headers_of(parent)
        tracing.record("child", SpanKind.CLIENT, traceparent, {"a": 1}, 10_000, 30_000)
        tracing.record("failed", SpanKind.CLIENT, traceparent, {}, 1, 2, failed=True)
    by_name = {span.name: span for span in spans.get_finished_spans()}
    child = by_name["child"]
    assert (parent_id(child), trace_id(child)) == (span_id(by_name["parent"]), trace_id(by_name["parent"]))
    assert (child.kind, dict(child.attributes or {}), child.start_time, child.end_time) == (
        SpanKind.CLIENT, {"a": 1}, 10_000, 30_000,
    )  # fmt: skip
    assert child.resource == by_name["parent"].resource != Resource.get_empty()
    assert child.instrumentation_scope == by_name["parent"].instrumentation_scope
    assert child.status.is_ok
    assert not by_name["failed"].status.is_ok
    assert '"name": "child"' in child.to_json()


def test_a_failure_tells_its_type_and_not_its_text() -> None:
    """A driver's text may hold what a tracing backend should not know."""
    with (
        recorded_spans() as spans,
        tracing.span("work", SpanKind.INTERNAL, {}, parent=tracing.context_of(None)) as span,
    ):
        tracing.fail(span, RuntimeError("amqp://user:secret@host"))
    (failed,) = spans.get_finished_spans()
    assert "secret" not in failed.to_json()
    assert dict(failed.attributes or {}) == {"error.type": "RuntimeError"}


def test_baggage_goes_nowhere() -> None:
    context = tracing.context_of(SAMPLED)
    with recorded_spans(), tracing.span("work", SpanKind.SERVER, {}, parent=context) as span:
        carrier: dict[str, str] = {}
        tracing._PROPAGATOR.inject(carrier)
        assert carrier.keys() == {"traceparent"}
        assert tracing.headers_of(span)[1] is None
