"""Entries: events at their places in the log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

Identity = tuple[str, str]
"""(`source`, `id`): what makes an event the same event."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in the log. Never checked again: whoever made it checked the event."""

    position: int
    """1, 2, 3… in the log's total order, without gaps."""
    version: int | None
    """1, 2, 3… inside the stream of `subject`; None without a subject."""
    source: str
    id: str
    type: str
    subject: str | None
    audience: tuple[str, ...]
    final: bool
    traceparent: str | None
    """The creation context (W3C), as the event brought it or ingest made it."""
    tracestate: str | None
    appended_at: datetime
    """When the persister took it in; UTC, millisecond resolution."""
    event: bytes
    """The CloudEvent as JSON without its audience: the `data` of its frame, encoded once."""

    @property
    def identity(self) -> Identity:
        return self.source, self.id


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log begins and ends."""

    log_id: str
    last: int
    """The last position; 0 where the log is empty."""
    floor: int = 0
    """Positions at or below it have been trimmed by retention."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one read found."""

    entries: Sequence[Entry]
    through: int
    """Every matching entry at or below this position has been returned by now."""
    head: Head
    """The log as it stood when the read began."""

    @property
    def at_head(self) -> bool:
        """Whether the read reached the end of the log."""
        return self.through >= self.head.last


EXPIRED = "expired"
"""The extension attribute of an event whose content retention has removed, and left its place."""

_KEPT_WHEN_EXPIRED = ("specversion", "id", "source", "type", "subject", "time", "traceparent", "tracestate", "final")


def is_hollow(attributes: Mapping[str, Any]) -> bool:
    """Whether retention has removed what the event said. The mark alone does not say so: anybody may send it."""
    return EXPIRED in attributes and attributes.keys() <= {*_KEPT_WHEN_EXPIRED, EXPIRED}


def expired(entry: Entry) -> Entry:
    """The entry without content and audience: nobody sees it any more, and no position is missing."""
    attributes = json.loads(entry.event)
    kept = {name: attributes[name] for name in _KEPT_WHEN_EXPIRED if name in attributes}
    event = json.dumps(kept | {EXPIRED: "true"}, ensure_ascii=False, separators=(",", ":")).encode()
    return replace(entry, audience=(), event=event)
