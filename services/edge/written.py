"""What has left for clients, counted where it is handed to whoever writes it.

The counters of these hot paths are bound once, here: a lookup for each frame would be seen in the rate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from services.edge.frames import EventFrame
from shared.model.entry import Entry
from shared.telemetry import metrics, tracing

_LIVE, _REPLAYED = metrics.deliveries["live"], metrics.deliveries["replayed"]
_EVENTS, _EVENT_BYTES = metrics.frames["event"], metrics.stream_bytes["event"]
_HEARTBEATS, _PROGRESS, _OTHERS = (metrics.frames[kind] for kind in ("heartbeat", "progress", "other"))
_OTHER_BYTES = metrics.stream_bytes["other"]


def live(frames: Sequence[EventFrame]) -> None:
    """Frames as they happened."""
    _LIVE.total += len(frames)
    _count(frames)
    now = time.time()
    for frame in frames:
        metrics.delivery_seconds.observe(now - frame.appended_at)


def replayed(frames: Sequence[EventFrame]) -> None:
    """Frames from the log, however old they are."""
    _REPLAYED.total += len(frames)
    _count(frames)


def _count(frames: Sequence[EventFrame]) -> None:
    _EVENTS.total += len(frames)
    _EVENT_BYTES.total += sum(map(len, frames))


def heartbeat(size_bytes: int, *, is_progress: bool) -> None:
    """A comment, or a frame that moves the client's cursor."""
    (_PROGRESS if is_progress else _HEARTBEATS).total += 1
    _OTHER_BYTES.total += size_bytes


def others(frames: int, size_bytes: int) -> None:
    """Frames of the stream itself: its greeting, what it announces, its end."""
    _OTHERS.total += frames
    _OTHER_BYTES.total += size_bytes


def traced(entry: Entry, connection_id: str, *, replayed: bool) -> None:
    """The span of one delivery, for the trace of its event."""
    assert entry.traceparent is not None
    attributes = tracing.about(entry.source, entry.id, entry.type) | {
        "messaging.operation.type": "process",
        tracing.POSITION: entry.position,
        "carillon.replayed": replayed,
        "carillon.connection": connection_id,
    }
    now_ns = time.time_ns()
    tracing.record("process user.{id}", SpanKind.CONSUMER, entry.traceparent, attributes, now_ns, now_ns)
