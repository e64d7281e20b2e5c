"""Entries and events for the checks: plain ones by number, and those that adapters get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.model.entry import Entry
from shared.model.event import MAX_EVENT_BYTES, Event
from shared.model.tags import MAX_AUDIENCE_TAGS

SOURCE = "/conformance"
NOON = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def an_entry(
    position: int,
    *tags: str,
    id: str | None = None,
    source: str = SOURCE,
    subject: str | None = None,
    version: int | None = None,
) -> Entry:
    """An entry whose id is its position unless another is given."""
    return Entry(
        position=position,
        version=version,
        source=source,
        id=id or f"id-{position}",
        type="check.done",
        subject=subject,
        audience=tags,
        final=False,
        traceparent=None,
        tracestate=None,
        appended_at=NOON + timedelta(milliseconds=position),
        event=f'{{"specversion":"1.0","id":"{id or position}"}}'.encode(),
    )


def entries(first: int, count: int, *tags: str) -> list[Entry]:
    """`count` entries at `first`, `first` + 1…, all for the same tags."""
    return [an_entry(position, *tags) for position in range(first, first + count)]


def a_stream(first: int, subject: str, versions: Sequence[int]) -> list[Entry]:
    """Entries of one subject at `first`, `first` + 1…, with these versions."""
    return [an_entry(at, subject=subject, version=version) for at, version in enumerate(versions, first)]


def positions_of(found: Sequence[Entry]) -> list[int]:
    return [entry.position for entry in found]


def many_tags() -> tuple[str, ...]:
    """As many as an audience may hold, long enough to fill several AMQP header frames."""
    return tuple(f"topic:{number:04}-{'x' * 90}" for number in range(MAX_AUDIENCE_TAGS))


def awkward_entries(first: int, tag: str) -> list[Entry]:
    """One entry for each way in which a round trip has been seen to lose something."""
    shapes: list[dict[str, Any]] = [
        {},
        {"version": 7, "subject": "Auftrag/ä ö ü", "final": True},
        {"id": "日本語 🎉", "source": "urn:ünïcode?q=a&b=c d"},
        {"traceparent": TRACEPARENT, "tracestate": "vendor=a,other=b"},
        # Spacing and key order are the sender's: the bytes must not be decoded and encoded again.
        {"event": '{ "specversion" :"1.0","data":\t[1.0, 1e3, "\\u00e9", "é"] }'.encode()},
        {"event": b'{"data":"' + b"x" * (MAX_EVENT_BYTES - 11) + b'"}'},
        {"audience": ("everyone", "user:ünï|c$ø.d/e#f*g", tag)},
        {"audience": (*many_tags()[:-1], tag)},
        {"type": "t" * 255, "id": "i" * 255, "source": "s" * 2048},
        {"appended_at": datetime(1999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)},
    ]
    return [replace(an_entry(at, tag), **shape) for at, shape in enumerate(shapes, first)]


def an_event(number: int, **attributes: object) -> Event:
    """An event whose id tells its number."""
    plain = {"specversion": "1.0", "id": f"event-{number}", "source": SOURCE, "type": "check.done"}
    return Event.from_attributes({**plain, "data": {"number": number}, **attributes})


def events(first: int, count: int) -> list[Event]:
    return [an_event(number) for number in range(first, first + count)]
