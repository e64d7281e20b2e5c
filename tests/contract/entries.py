"""Entries and events to try an adapter with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shared.model.entry import Entry
from shared.model.event import Event

NOON = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def entry(position: int, **changes: Any) -> Entry:
    """An entry of no stream, for alice."""
    attributes: dict[str, Any] = {
        "position": position,
        "version": None,
        "source": "/shop",
        "id": f"e-{position}",
        "type": "order.created",
        "subject": None,
        "audience": ("user:alice",),
        "final": False,
        "traceparent": TRACEPARENT,
        "tracestate": None,
        "appended_at": NOON,
        "event": b'{"specversion":"1.0","id":"1","source":"/shop","type":"order.created","data":{"n":1}}',
    }
    return Entry(**attributes | changes)


def entries(first: int, count: int, **changes: Any) -> list[Entry]:
    return [entry(position, **changes) for position in range(first, first + count)]


def event(id_: str, **attributes: Any) -> Event:
    return Event.from_attributes(
        {"specversion": "1.0", "id": id_, "source": "/shop", "type": "order.created", "audience": "user:alice"}
        | attributes
    )
