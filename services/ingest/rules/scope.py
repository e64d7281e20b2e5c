"""What expressions and templates see of an event. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.ingest.rules.people import People
from shared.model.event import Event

NAMES = ("id", "source", "type", "subject", "time", "data", "extensions")
ITEM = "item"
"""What an entry of an audience calls each of its list."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Values by name, and who is who."""

    names: dict[str, Any]
    """By `NAMES`; what the event does not have is None."""
    people: People

    def with_item(self, item: Any) -> Scope:
        return Scope({**self.names, ITEM: item}, self.people)


def scope_of(event: Event, people: People) -> Scope:
    """The event's attributes and data; `extensions` are all others that it brought."""
    names = (event.id, event.source, event.type, event.subject, event.time, event.data, event.model_extra or {})
    return Scope(dict(zip(NAMES, names, strict=True)), people)
