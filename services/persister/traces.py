"""What the persister tells of traced events: what became of each in its batch, and its dispatch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.trace import Link, SpanKind

from services.persister.batch import Arrived, Plan
from shared.telemetry import tracing

if TYPE_CHECKING:
    from shared.model.entry import Entry
    from shared.model.errors import Unavailable


class BatchTrace:
    """One root span for a batch, that links to the creation context of each traced event in it."""

    def __init__(self, events: Sequence[Arrived]) -> None:
        self._count = len(events)
        self._traced = [one for one in events if tracing.is_traced(one.event.traceparent)]
        self._began_ns = time.time_ns()
        self._has_failed = False

    def failed(self, why: Unavailable) -> None:
        """The log did not answer. Told once: an outage is tried again twice a second."""
        if self._traced and not self._has_failed:
            self._has_failed = True
            reason = f"{why.backend}-unavailable"
            self._record(lambda one: {tracing.FAILED: reason}, failed=True)

    def done(self, plan: Plan) -> None:
        """The batch was stored."""
        if not self._traced:
            return
        positions = {entry.identity: entry.position for entry in plan.entries}
        reasons = {letter.body: letter.reason for letter in plan.dead}

        def outcome(one: Arrived) -> tracing.Attributes:
            if one.body in reasons:
                return {tracing.FAILED: reasons[one.body]}
            if one.identity in positions:
                return {tracing.POSITION: positions[one.identity]}
            return {tracing.SKIPPED: "duplicate"}

        self._record(outcome, failed=False)

    def _record(self, outcome: Callable[[Arrived], tracing.Attributes], *, failed: bool) -> None:
        ended_ns = time.time_ns()
        attributes: tracing.Attributes = {
            "messaging.system": tracing.SYSTEM,
            "messaging.destination.name": tracing.LOG,
            "messaging.operation.type": "process",
            tracing.BATCH_COUNT: self._count,
            tracing.STEP: "persisted",
        }
        links = [link for one in self._traced if (link := _link(one, outcome(one)))]
        batch = tracing.record(
            f"process {tracing.LOG}", SpanKind.CONSUMER, None, attributes, self._began_ns, ended_ns,
            links=links, failed=failed,
        )  # fmt: skip
        about: tracing.Attributes = {"db.operation.name": "insert", "db.operation.batch.size": self._count}
        tracing.record("insert", SpanKind.CLIENT, batch, about, self._began_ns, ended_ns, failed=failed)


def _link(one: Arrived, outcome: tracing.Attributes) -> Link | None:
    event = one.event
    about = {**tracing.about(event.source, event.id, event.type), **outcome}
    return tracing.link_to(event.traceparent, event.tracestate, about)


def record_dispatch(entry: Entry, began_ns: int, ended_ns: int, *, is_unheard: bool) -> None:
    """The dispatch of a traced entry; also that nobody was there, which is no failure."""
    attributes = tracing.about(entry.source, entry.id, entry.type) | {
        "messaging.destination.name": tracing.DELIVERIES,
        "messaging.operation.type": "send",
        tracing.POSITION: entry.position,
        tracing.STEP: "dispatched",
    }
    if is_unheard:
        attributes |= {tracing.SKIPPED: "no-one-connected" if entry.audience else "no-audience"}
    name = f"publish {tracing.DELIVERIES}"
    tracing.record(name, SpanKind.CLIENT, entry.traceparent, attributes, began_ns, ended_ns)
