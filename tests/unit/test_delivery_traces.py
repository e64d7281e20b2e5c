"""Spans of deliveries: each told, until there are so many of one event that the rest is told as one."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, SpanKind

from services.edge import traces
from services.edge.connection import Connection
from services.edge.frames import EventFrame
from services.edge.traces import DeliveryTraces
from shared.model.entry import Entry
from shared.telemetry import tracing
from tests.eventually import eventually
from tests.harness.spans import recorded_spans

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def an_entry(position: int, traceparent: str = TRACEPARENT) -> Entry:
    return Entry(
        position, None, "/t", str(position), "a.b", None, ("everyone",), False, traceparent, None,
        datetime.now(UTC), b"{}",
    )  # fmt: skip


def a_connection(user: str = "alice") -> Connection:
    return cast(Connection, SimpleNamespace(id=f"of-{user}", session=SimpleNamespace(sub=user), span=INVALID_SPAN))


def deliver(told: DeliveryTraces, entry: Entry, times: int) -> None:
    frame = EventFrame.of(entry, "log.1")
    for number in range(times):
        told.delivered([frame], a_connection(f"u{number}"), replayed=False)


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_an_event_to_everyone_is_told_of_some_and_counted_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_TOLD_DELIVERIES", 5)
    monkeypatch.setattr(traces, "OTHERS_AFTER_S", 0.02)
    with recorded_spans() as spans:
        told = DeliveryTraces("edge-1")
        deliver(told, an_entry(1), 1000)
        deliver(told, an_entry(2), 3)
        await eventually(lambda: len(spans.get_finished_spans()) == 9)
        found = [about(span) for span in spans.get_finished_spans()]
    assert [each.get(tracing.USER) for each in found] == [*(f"u{n}" for n in range(5)), "u0", "u1", "u2", None]
    assert found[-1][tracing.OTHERS_COUNT] == 995
    assert found[-1][tracing.EVENT_ID] == "1"
    assert found[-1][tracing.STEP] == "delivered"


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "COUNTED_EVENTS", 10)
    with recorded_spans():
        told = DeliveryTraces("edge-1")
        for position in range(1000):
            deliver(told, an_entry(position), 1)
        assert len(told._told) == 10


def test_untraced_entries_cost_no_span_and_no_memory() -> None:
    with recorded_spans() as spans:
        told = DeliveryTraces("edge-1")
        untraced = an_entry(1, f"{TRACEPARENT[:-1]}0")
        assert EventFrame.of(untraced, "log.1").entry is None
        told.skipped(untraced, a_connection(), "filtered")
        told.failed(untraced, a_connection(), "slow-reader")
    assert spans.get_finished_spans() == ()
    assert not told._told


def test_a_failure_is_told_apart_from_what_is_as_it_should_be() -> None:
    with recorded_spans() as spans:
        told = DeliveryTraces("edge-1")
        told.skipped(an_entry(1), a_connection(), "filtered")
        told.failed(an_entry(1), a_connection(), "slow-reader")
    skipped, failed = spans.get_finished_spans()
    assert (skipped.status.is_ok, about(skipped)[tracing.SKIPPED]) == (True, "filtered")
    assert (failed.status.is_ok, about(failed)[tracing.FAILED]) == (False, "slow-reader")


def test_a_delivery_links_to_the_request_of_its_stream_where_that_is_recorded() -> None:
    with recorded_spans() as spans:
        told = DeliveryTraces("edge-1")
        connection = a_connection()
        deliver(told, an_entry(1), 1)
        connection.span = tracing.begin("GET /v1/events", SpanKind.SERVER, {}, parent=tracing.context_of(None))
        told.delivered([EventFrame.of(an_entry(1), "log.1")], connection, replayed=True)
    without, linked = spans.get_finished_spans()
    assert not without.links
    assert [link.context for link in linked.links] == [connection.span.get_span_context()]


def test_frames_of_clients_that_listen_to_message_only_are_traced_too() -> None:
    with recorded_spans():
        frame = EventFrame.of(an_entry(1), "log.1")
        assert frame.unnamed.entry == frame.entry is not None
        assert frame.unnamed.made_ns == frame.made_ns > 0
