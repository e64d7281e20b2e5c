"""What becomes of a batch, decided before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from shared.model.content import Content
from shared.model.entry import Entry, Identity
from shared.model.errors import IdentityConflict, InvalidEvent, VersionConflict
from shared.model.event import Event, is_traceparent, is_tracestate
from shared.ports.broker import Arrival, DeadLetter
from shared.telemetry.tracing import new_traceparent


class Arrived(NamedTuple):
    """An event that came by the intake."""

    event: Event
    body: bytes
    """As it came, for the dead letter that it may become."""

    @property
    def identity(self) -> Identity:
        return self.event.source, self.event.id


@dataclass(slots=True)
class Sorted:
    """Arrivals told apart: events, and what is none."""

    events: list[Arrived] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """What the log already holds of a batch."""

    last: int
    contents: Mapping[Identity, Content]
    """Of those that it holds, what they say."""
    versions: Mapping[str, int]


@dataclass(slots=True)
class Plan:
    """What to append, what to park, and what to drop because the log has it already."""

    entries: list[Entry] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    duplicates: list[Identity] = field(default_factory=list)

    def include(self, other: Plan) -> None:
        """Adds what became of other events."""
        self.entries += other.entries
        self.dead += other.dead
        self.duplicates += other.duplicates


def parts_of(arrivals: Sequence[Arrival], max_bytes: int) -> Iterator[Sequence[Arrival]]:
    """The arrivals in their order, in runs of at most so many bytes; one that is larger goes alone."""
    start, size_bytes = 0, 0
    for at, arrival in enumerate(arrivals):
        size_bytes += len(arrival.body)
        if size_bytes > max_bytes and at > start:
            yield arrivals[start:at]
            start, size_bytes = at, len(arrival.body)
    if arrivals:
        yield arrivals[start:]


def sort_arrivals(arrivals: Iterable[Arrival], max_bytes: int) -> Sorted:
    """Checks each arrival at this boundary, since any AMQP client may publish."""
    found = Sorted()
    for arrival in arrivals:
        try:
            event = Event.from_json(arrival.body, max_bytes)
            found.events.append(Arrived(_with_context(event, arrival), arrival.body))
        except InvalidEvent as refused:
            found.dead.append(dead_letter(arrival.body, refused))
    return found


def _with_context(event: Event, arrival: Arrival) -> Event:
    """The creation context: the event's own, else that of its message, else a new one.

    Whoever publishes over AMQP may leave it out, and every event shall be found in one trace.
    """
    if event.traceparent is not None:
        return event
    context = {"traceparent": arrival.traceparent}
    if arrival.tracestate is not None and is_tracestate(arrival.tracestate):
        context["tracestate"] = arrival.tracestate
    if arrival.traceparent is None or not is_traceparent(arrival.traceparent):
        context = {"traceparent": new_traceparent()}
    return event.model_copy(update=context)


def plan_batch(arrived: Iterable[Arrived], known: Known, now: datetime) -> Plan:
    """Gives each new event its position and version, in the order of arrival.

    Duplicates, of the log or inside the batch, are dropped first: a repeated event is accepted
    even where its `expectedversion` has been overtaken by its own first copy. What has the identity
    of another event and says something else is a dead letter: to drop it would lose it unseen.
    """
    plan, versions = Plan(), dict(known.versions)
    seen: dict[Identity, Content | Event] = dict(known.contents)
    for one in arrived:
        event, identity = one.event, one.identity
        if first := seen.get(identity):
            _set_aside(plan, one, first)
            continue
        version = None if event.subject is None else versions.get(event.subject, 0) + 1
        if event.expected_version is not None and version != event.expected_version + 1:
            plan.dead.append(dead_letter(one.body, _conflict(event, (version or 1) - 1), event))
            continue
        seen[identity] = event
        if version is not None and event.subject is not None:
            versions[event.subject] = version
        plan.entries.append(entry_of(event, known.last + len(plan.entries) + 1, version, now))
    return plan


def _set_aside(plan: Plan, one: Arrived, first: Content | Event) -> None:
    """What has the identity of an event that was there before it."""
    try:
        (Content.of(first) if isinstance(first, Event) else first).check_repeat(Content.of(one.event))
        plan.duplicates.append(one.identity)
    except IdentityConflict as conflict:
        plan.dead.append(dead_letter(one.body, conflict, one.event))


def entry_of(event: Event, position: int, version: int | None, now: datetime) -> Entry:
    """The event at its place."""
    return Entry(
        position=position,
        version=version,
        source=event.source,
        id=event.id,
        type=event.type,
        subject=event.subject,
        audience=event.tags,
        final=event.is_final,
        traceparent=event.traceparent,
        tracestate=event.tracestate,
        appended_at=now,
        event=event.public_json(),
    )


def dead_letter(body: bytes, refused: InvalidEvent, event: Event | None = None) -> DeadLetter:
    """The body whole, with the reason beside it; and which event it was, where it was one."""
    attributes = {"field": refused.field}
    if event is not None:
        attributes |= {"source": event.source, "id": event.id, "type": event.type}
        attributes |= {"traceparent": event.traceparent} if event.traceparent is not None else {}
    return DeadLetter(body=body, reason=refused.reason, detail=str(refused), attributes=attributes)


def _conflict(event: Event, version: int) -> VersionConflict:
    return VersionConflict(
        "expectedversion",
        f"{event.expected_version} was expected, and the stream {event.subject!r} is at {version}",
        "read the stream again and decide anew",
    )
