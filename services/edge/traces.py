"""What an edge tells of deliveries of traced events: to whom, on which connection; or why not."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.trace import Link, SpanKind

from shared.telemetry import tracing

if TYPE_CHECKING:
    from services.edge.connection import Connection
    from services.edge.frames import EventFrame
    from shared.model.entry import Entry

# Of one event on one edge: every connection that three users may have. An event to everyone has as many deliveries
# as there are streams: nobody reads ten thousand spans. With a hundred of them, of a tenth of all events, an edge
# with a thousand streams had a tenth less of frames a second.
MAX_TOLD_DELIVERIES = 30
# Events whose deliveries are counted at a time; of one that is forgotten so many are told again.
COUNTED_EVENTS = 1000
# After that an event to everyone has reached its last stream, and the others are told as one.
OTHERS_AFTER_S = 2.0

NAME = "process user.{id}"


class DeliveryTraces:
    """The spans of this edge's deliveries, children of their events' creation contexts.

    Args:
        edge: as the list of connections names it.
    """

    def __init__(self, edge: str) -> None:
        self._edge = edge
        self._told: OrderedDict[int, int] = OrderedDict()

    def delivered(self, frames: Sequence[EventFrame], connection: Connection, *, replayed: bool) -> None:
        """The frames, each of a traced entry, were handed to whoever writes them."""
        now_ns = time.time_ns()
        for frame in frames:
            assert frame.entry is not None
            if self._may_tell(frame.entry):
                self._record(frame.entry, connection, {tracing.REPLAYED: replayed}, frame.made_ns, now_ns)

    def skipped(self, entry: Entry, connection: Connection, reason: str) -> None:
        """The entry is the user's, and this connection does not show it."""
        if tracing.is_traced(entry.traceparent) and self._may_tell(entry):
            now_ns = time.time_ns()
            self._record(entry, connection, {tracing.SKIPPED: reason}, now_ns, now_ns)

    def failed(self, entry: Entry, connection: Connection, reason: str) -> None:
        """The connection was ended instead; its client finds the entry in the log."""
        if tracing.is_traced(entry.traceparent) and self._may_tell(entry):
            now_ns = time.time_ns()
            self._record(entry, connection, {tracing.FAILED: reason}, now_ns, now_ns)

    def _may_tell(self, entry: Entry) -> bool:
        count = self._told[entry.position] = self._told.get(entry.position, 0) + 1
        if count == 1 and len(self._told) > COUNTED_EVENTS:
            self._told.popitem(last=False)
        if count == MAX_TOLD_DELIVERIES + 1:
            asyncio.get_running_loop().call_later(OTHERS_AFTER_S, self._tell_others, entry, time.time_ns())
        return count <= MAX_TOLD_DELIVERIES

    def _tell_others(self, entry: Entry, began_ns: int) -> None:
        """One span for all that were not told."""
        others = self._told.pop(entry.position, 0) - MAX_TOLD_DELIVERIES
        if others > 0 and tracing.is_traced(entry.traceparent):
            attributes = self._about(entry) | {tracing.OTHERS_COUNT: others}
            tracing.record(NAME, SpanKind.CONSUMER, entry.traceparent, attributes, began_ns, time.time_ns())

    def _record(
        self, entry: Entry, connection: Connection, more: tracing.Attributes, began_ns: int, ended_ns: int
    ) -> None:
        attributes = {
            **self._about(entry),
            tracing.USER: connection.session.sub,
            tracing.CONNECTION: connection.id,
            **more,
        }
        opened = connection.span.get_span_context()
        tracing.record(
            NAME, SpanKind.CONSUMER, entry.traceparent, attributes, began_ns, ended_ns,
            links=(Link(opened),) if opened.trace_flags.sampled else (), failed=tracing.FAILED in more,
        )  # fmt: skip

    def _about(self, entry: Entry) -> dict[str, str | int]:
        return tracing.about(entry.source, entry.id, entry.type) | {
            "messaging.operation.type": "process",
            tracing.POSITION: entry.position,
            tracing.EDGE: self._edge,
            tracing.STEP: "delivered",
        }
