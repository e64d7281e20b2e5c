"""One rule applied to one event. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.ingest.rules.audience import Granted, granted
from services.ingest.rules.notice import said
from services.ingest.rules.rule import Rule
from services.ingest.rules.scope import Scope
from services.ingest.rules.steps import BEGIN_STEPS, Steps, TooMuchWork
from services.ingest.rules.troubles import Troubles
from services.ingest.rules.wrong import Failed
from shared.model.event import Event
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.tags import is_internal

SOURCE = "/carillon/rules/"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule makes of an event."""

    rule: Rule
    matched: bool
    why: str
    """Why it matched or did not, in a few words."""
    granted: tuple[Granted, ...] = ()
    """The tags that it adds to the audience."""
    notification: Event | None = None
    troubles: tuple[str, ...] = ()
    """What could not be filled in, or was no tag; the rest still counts."""
    notes: tuple[str, ...] = ()
    """What is meant so and still worth knowing, such as who is nobody here."""
    refused_tags: int = 0


def outcome(rule: Rule, event: Event, scope: Scope, steps: Steps) -> Outcome:
    """Applies a rule whose patterns match. Never raises."""
    try:
        steps.take(BEGIN_STEPS)
        if rule.when is not None and not rule.when.holds(scope.names, steps):
            return Outcome(rule, False, "when is false")
    except Failed as failed:
        return Outcome(rule, False, f"when: {failed}")
    troubles = Troubles()
    try:
        return _applied(rule, event, scope, steps, troubles)
    except TooMuchWork as stopped:
        troubles.tell(str(stopped))
        return _matched(rule, (), None, troubles)


def _applied(rule: Rule, event: Event, scope: Scope, steps: Steps, troubles: Troubles) -> Outcome:
    grants = granted(rule.audience, rule.exceptions, scope, steps, troubles)
    tags = tuple(grant.tag for grant in grants) if rule.audience else _own_tags(event)
    told = None
    if rule.notice is not None and tags:
        told = _notification(rule, event, tags, said(rule.notice, scope, steps, troubles))
    return _matched(rule, grants, told, troubles)


def _matched(rule: Rule, grants: tuple[Granted, ...], told: Event | None, troubles: Troubles) -> Outcome:
    why = "its match fits" if rule.when is None else "its match fits, and when is true"
    return Outcome(rule, True, why, grants, told, tuple(troubles.told), tuple(troubles.notes), troubles.refused_tags)


def _own_tags(event: Event) -> tuple[str, ...]:
    return tuple(tag for tag in event.tags if not is_internal(tag))


def _notification(rule: Rule, event: Event, tags: tuple[str, ...], says: Mapping[str, Any]) -> Event:
    """The same event makes the same one again: its identity, its time and its trace follow from it."""
    about = {"source": event.source, "id": event.id, "type": event.type, "subject": event.subject}
    attributes = {
        "specversion": "1.0",
        "id": hashlib.sha256(f"{event.source}\0{event.id}".encode()).hexdigest()[:32],
        "source": f"{SOURCE}{rule.name}",
        "type": NOTIFICATION,
        "time": event.time,
        "datacontenttype": "application/json",
        "audience": " ".join(tags),
        "traceparent": event.traceparent,
        "tracestate": event.tracestate,
        "data": {**says, "about": {name: text for name, text in about.items() if text is not None}},
    }
    return Event.from_attributes({name: value for name, value in attributes.items() if value is not None})
