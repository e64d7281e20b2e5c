"""All rules together: an event -> its audience and its notifications. Pure; the same event is routed the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from services.ingest.rules.index import Index, fits
from services.ingest.rules.outcome import Outcome, outcome
from services.ingest.rules.people import People
from services.ingest.rules.rule import Rule
from services.ingest.rules.scope import scope_of
from services.ingest.rules.steps import MAX_STEPS_PER_EVENT, MAX_STEPS_PER_RULE, Steps
from shared.model.event import Event
from shared.model.tags import MAX_AUDIENCE_TAGS

# What rules may add to an event, beside its data within the size limit.
MAX_ADDED_BYTES = 64 * 1024
# About one event; each is an event to publish before its producer is answered.
MAX_NOTIFICATIONS = 20


@dataclass(frozen=True, slots=True)
class Routing:
    """What the rules make of an event."""

    audience: tuple[str, ...] = ()
    """The tags that they add, without those that the event has."""
    notifications: tuple[Event, ...] = ()
    """One of each rule that notifies; to be published after the event."""
    matched: tuple[Outcome, ...] = ()
    """Each rule that matched, in the order of the files."""


class RuleSet:
    """Rules that were checked together: each name is there once."""

    def __init__(self, rules: Sequence[Rule] = (), people: People | None = None) -> None:
        self.rules, self.people = tuple(rules), people or People()
        self._index = Index(self.rules)

    def route(self, event: Event) -> Routing:
        """Who shall receive the event by the rules, and what it says to them. Never raises."""
        return self.routing(event, self.outcomes(event)) if self.rules else Routing()

    def routing(self, event: Event, outcomes: Iterable[Outcome]) -> Routing:
        """What it comes to that these are the event's outcomes."""
        matched = _bounded(each for each in outcomes if each.matched)
        notifications = tuple(each.notification for each in matched if each.notification)
        return Routing(added_tags(event, matched), notifications, matched)

    def outcomes(self, event: Event) -> Iterator[Outcome]:
        """What each rule makes of it that may concern it; the others are not looked at."""
        scope = scope_of(event, self.people)
        left = MAX_STEPS_PER_EVENT
        for rule in self._index.candidates(scope):
            if left <= 0:
                yield Outcome(rule, False, "too many rules had much to do with this event: it was stopped")
                continue
            steps = Steps(min(left, MAX_STEPS_PER_RULE))
            allowed = steps.left
            yield outcome(rule, event, scope, steps)
            left -= allowed - max(steps.left, 0)

    def unmatched(self, event: Event, seen: Iterable[Outcome]) -> Iterator[Outcome]:
        """The rules whose type, source and subject fit and that were not looked at, because `when` cannot hold."""
        looked_at = {each.rule.name for each in seen}
        for rule in self.rules:
            if rule.name not in looked_at and fits(rule, event.type, event.source, event.subject):
                yield Outcome(rule, False, "when is false")


def _bounded(matched: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """What goes beyond the number of notifications is not said, and that is told."""
    kept: list[Outcome] = []
    said = 0
    for each in matched:
        said += each.notification is not None
        if each.notification is not None and said > MAX_NOTIFICATIONS:
            trouble = f"more than {MAX_NOTIFICATIONS} rules notify about this event: not said"
            each = replace(each, notification=None, troubles=(*each.troubles, trouble))
        kept.append(each)
    return tuple(kept)


def added_tags(event: Event, outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    """The tags of all outcomes that the event does not have, as many as may be added."""
    own = frozenset(event.tags)
    added: dict[str, None] = {}
    size_bytes = 0
    for tag in (grant.tag for each in outcomes for grant in each.granted):
        if tag in own or tag in added:
            continue
        size_bytes += len(tag.encode()) + 1
        if len(own) + len(added) >= MAX_AUDIENCE_TAGS or size_bytes > MAX_ADDED_BYTES:
            break
        added[tag] = None
    return tuple(added)
