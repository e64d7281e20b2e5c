"""What has left for clients, counted where each write returned.

The counters of these hot paths are bound once, here: a lookup for each frame would be seen in the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from shared.model.entry import Entry
from shared.telemetry import metrics

_LIVE, _REPLAYED = metrics.deliveries["live"], metrics.deliveries["replayed"]
_EVENTS, _EVENT_BYTES = metrics.frames["event"], metrics.stream_bytes["event"]
_HEARTBEATS, _PROGRESS, _OTHERS = (metrics.frames[kind] for kind in ("heartbeat", "progress", "other"))
_OTHER_BYTES = metrics.stream_bytes["other"]


def live(entries: Sequence[Entry], size_bytes: int) -> None:
    """Live frames of these entries, in one write."""
    _LIVE.total += len(entries)
    _EVENTS.total += len(entries)
    _EVENT_BYTES.total += size_bytes
    now = datetime.now(UTC)
    for entry in entries:
        metrics.delivery_seconds.observe((now - entry.appended_at).total_seconds())


def replayed(entries: Sequence[Entry], size_bytes: int) -> None:
    """Frames from the log, however old they are."""
    _REPLAYED.total += len(entries)
    _EVENTS.total += len(entries)
    _EVENT_BYTES.total += size_bytes


def heartbeat(size_bytes: int, *, is_progress: bool) -> None:
    """A comment, or a frame that moves the client's cursor."""
    (_PROGRESS if is_progress else _HEARTBEATS).total += 1
    _OTHER_BYTES.total += size_bytes


def others(frames: int, size_bytes: int) -> None:
    """Frames of the stream itself: its greeting, what it announces, its end."""
    _OTHERS.total += frames
    _OTHER_BYTES.total += size_bytes
