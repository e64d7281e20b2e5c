"""Times of events as streams show them: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.model.entry import Entry

_MILLISECOND = timedelta(milliseconds=1)


def moment_of(entry: Entry, attributes: Mapping[str, Any]) -> str:
    """When the event happened, as it says itself, or else when it was appended."""
    told = parsed(attributes.get("time"))
    return shown(entry.appended_at if told is None else told)


def shown(moment: datetime) -> str:
    """`2026-01-31T12:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parsed(text: object) -> datetime | None:
    """A time of RFC 3339; None for anything else. A leap second is the one before it."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r":60(?=[.Zz+-])", ":59", text.upper(), count=1))
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def between_ms(begin: object, end: object) -> int | None:
    """Milliseconds from one time to another, never negative: clocks differ. None where one of them is no time."""
    began, ended = parsed(begin), parsed(end)
    return None if began is None or ended is None else max(0, (ended - began) // _MILLISECOND)
