"""The events that are measured: some 500 bytes as JSON, as a build server would send them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.persister.batch import entry_of
from shared.model.entry import Entry
from shared.model.event import Event

SOURCE = "/bench/ci"
# One event in three belongs to a stream; so many streams there are.
STREAMS = 1000
TRACED_EVERY = 10
# Incompressible filler of the size that a status report has.
_TEXT = "Build of feature/event-sourcing passed: 1,204 tests, 3 skipped, coverage 91.2 %. " * 2


def attributes(number: int, audience: str) -> dict[str, Any]:
    """The CloudEvent number `number`, as the dict that a producer would send."""
    subject = {"subject": f"job/{number % STREAMS}"} if number % 3 == 0 else {}
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": SOURCE,
        "type": "build.finished",
        "time": "2026-01-31T12:00:00Z",
        "audience": audience,
        # A tenth is traced, as by default.
        "traceparent": f"00-{number + 1:032x}-00f067aa0ba902b7-0{int(number % TRACED_EVERY == 0)}",
        "data": {"job": number, "branch": "main", "passed": True, "text": _TEXT},
    } | subject


def event(number: int, audience: str) -> Event:
    """The same, checked."""
    return Event.from_attributes(attributes(number, audience))


def entry(position: int, audience: str, data: object = None) -> Entry:
    """The same at a place in a log that holds nothing else: event 1 at position 1, without a stream.

    Args:
        data: instead of the event's own.
    """
    changed = {"subject": None} | ({} if data is None else {"data": data})
    made = Event.from_attributes(attributes(position, audience) | changed)
    return entry_of(made, position, None, datetime.now(UTC))
