"""What has left for clients, counted where it is handed to whoever writes it.

The counters of these hot paths are bound once, here: a lookup for each frame would be seen in the rate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from services.edge.frames import EventFrame
from shared.telemetry import metrics, tracing

_LIVE, _REPLAYED = metrics.deliveries["live"], metrics.deliveries["replayed"]
_EVENTS, _EVENT_BYTES = metrics.frames["event"], metrics.stream_bytes["event"]
_HEARTBEATS, _PROGRESS, _OTHERS = (metrics.frames[kind] for kind in ("heartbeat", "progress", "other"))
_OTHER_BYTES = metrics.stream_bytes["other"]


def live(frames: Sequence[EventFrame]) -> Sequence[EventFrame]:
    """Frames as they happened. Returns those of traced entries: mostly none."""
    _LIVE.total += len(frames)
    traced = _count(frames)
    now = time.time()
    for frame in frames:
        trace_id = None if frame.entry is None else tracing.trace_id_of(frame.entry.traceparent)
        metrics.delivery_seconds.observe(now - frame.appended_at, trace_id)
    return traced


def replayed(frames: Sequence[EventFrame]) -> Sequence[EventFrame]:
    """Frames from the log, however old they are. Returns those of traced entries."""
    _REPLAYED.total += len(frames)
    return _count(frames)


def _count(frames: Sequence[EventFrame]) -> Sequence[EventFrame]:
    _EVENTS.total += len(frames)
    _EVENT_BYTES.total += sum(map(len, frames))
    return [frame for frame in frames if frame.entry is not None]


def heartbeat(size_bytes: int, *, is_progress: bool) -> None:
    """A comment, or a frame that moves the client's cursor."""
    (_PROGRESS if is_progress else _HEARTBEATS).total += 1
    _OTHER_BYTES.total += size_bytes


def others(frames: int, size_bytes: int) -> None:
    """Frames of the stream itself: its greeting, what it announces, its end."""
    _OTHERS.total += frames
    _OTHER_BYTES.total += size_bytes
