"""The promises of design.md §8 as one check over what a run left behind. Pure.

It knows the log, what publishers were promised, and what each reader received; it knows nothing of
how the run was made or what was killed in it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Any

from shared.model.cursor import Cursor
from shared.model.entry import Entry
from shared.model.event import NOT_SHOWN

# Of each kind of violation the first few tell the story; a log of thousands would bury it.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One event whose publish was answered 202."""

    attributes: Mapping[str, Any]
    """As it was sent."""
    trace_id: str | None = None
    """Of the `traceparent` that came with the request; the log's must be of the same trace."""

    @property
    def identity(self) -> tuple[str, str]:
        return self.attributes["source"], self.attributes["id"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event frame as a client received it."""

    cursor: str
    type: str
    data: Any
    """The frame's data, decoded."""


@dataclass(slots=True)
class Reading:
    """What one reader received, over all its connections."""

    name: str
    tags: frozenset[str]
    start: str
    """The cursor it began after."""
    deliveries: list[Delivery] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    """Reasons of `reset` frames; no run of this checker may cause one."""
    end: str | None = None
    """The cursor it was at when it ended before the run did; None for one that stayed."""
    wants: Callable[[str], bool] = lambda _: True
    """Which event types it asked for."""


def check_promises(
    log_id: str, entries: Sequence[Entry], confirmed: Iterable[Confirmed], readings: Iterable[Reading] = ()
) -> None:
    """Raises one `AssertionError` that names everything that is wrong, in the order of the promises."""
    problems = [*_log_problems(entries), *_publish_problems(entries, confirmed)]
    for reading in readings:
        problems += _reading_problems(log_id, entries, reading)
    if problems:
        raise AssertionError("\n".join(["the promises are broken:", *problems]))


def audience_slice(entries: Iterable[Entry], reading: Reading) -> list[Entry]:
    """What the reader must have received in the end."""
    start = Cursor.parse(reading.start).position
    end = Cursor.parse(reading.end).position if reading.end is not None else float("inf")
    return [
        entry
        for entry in entries
        if start < entry.position <= end and reading.tags & set(entry.audience) and reading.wants(entry.type)
    ]


def _log_problems(entries: Sequence[Entry]) -> Iterator[str]:
    positions = [entry.position for entry in entries]
    yield from _differences("log: positions are not 1..N", range(1, len(entries) + 1), positions)
    repeated = [identity for identity, times in Counter(entry.identity for entry in entries).items() if times > 1]
    for identity in repeated[:SHOWN]:
        at = [entry.position for entry in entries if entry.identity == identity]
        yield f"log: {identity} is in it more than once, at positions {at}"
    yield from _version_problems(entries)


def _version_problems(entries: Sequence[Entry]) -> Iterator[str]:
    versions: dict[str, list[int | None]] = {}
    for entry in entries:
        if entry.subject is not None:
            versions.setdefault(entry.subject, []).append(entry.version)
        elif entry.version is not None:
            yield f"log: position {entry.position} has version {entry.version} without a subject"
    for subject, found in versions.items():
        yield from _differences(f"log: versions of {subject!r} are not 1..N", range(1, len(found) + 1), found)


def _publish_problems(entries: Sequence[Entry], confirmed: Iterable[Confirmed]) -> Iterator[str]:
    by_identity = {entry.identity: entry for entry in entries}
    lost, changed = [], []
    for publish in confirmed:
        entry = by_identity.get(publish.identity)
        if entry is None:
            lost.append(f"publish: {publish.identity} was answered 202 and is not in the log")
        elif problem := _difference_of_event(publish, entry):
            changed.append(f"publish: {publish.identity} at position {entry.position}: {problem}")
    yield from _first(lost)
    yield from _first(changed)


def _difference_of_event(publish: Confirmed, entry: Entry) -> str | None:
    """What the log changed of an event; only what no stream shows may go, and only `traceparent` come."""
    stored = json.loads(entry.event)
    sent = {name: value for name, value in publish.attributes.items() if name not in NOT_SHOWN}
    added = stored.keys() - sent.keys() - {"traceparent"}
    if added:
        return f"attributes {sorted(added)} were added"
    different = [name for name, value in sent.items() if stored.get(name) != value]
    if different:
        name = different[0]
        return f"{name!r} was sent as {_short(sent[name])} and stored as {_short(stored.get(name))}"
    if set(publish.attributes.get("audience", "").split()) != set(entry.audience):
        return f"the audience became {entry.audience}"
    if entry.traceparent != stored.get("traceparent"):
        return f"the traces of entry and event differ: {entry.traceparent} and {stored.get('traceparent')}"
    if publish.trace_id is not None and publish.trace_id not in (entry.traceparent or ""):
        return f"it was sent in trace {publish.trace_id} and stored with {entry.traceparent}"
    return None


def _reading_problems(log_id: str, entries: Sequence[Entry], reading: Reading) -> Iterator[str]:
    for reason in reading.resets:
        yield f"{reading.name}: was reset: {reason}"
    if unreadable := _foreign_cursors(log_id, reading):
        yield f"{reading.name}: cursors of another log: {unreadable[:SHOWN]}"
        return
    due = audience_slice(entries, reading)
    positions = [Cursor.parse(delivery.cursor).position for delivery in reading.deliveries]
    yield from _order_problems(reading.name, positions)
    yield from _membership_problems(reading, entries, due, positions)
    what = f"{reading.name}: did not receive exactly its slice of the log"
    yield from _differences(what, [entry.position for entry in due], positions)
    yield from _first(_content_problems(reading, {entry.position: entry for entry in entries}, positions))


def _foreign_cursors(log_id: str, reading: Reading) -> list[str]:
    cursors = [reading.start, *(delivery.cursor for delivery in reading.deliveries)]
    return [cursor for cursor in cursors if not cursor.startswith(f"{log_id}.")]


def _order_problems(name: str, positions: Sequence[int]) -> Iterator[str]:
    falls = [(above, below) for above, below in pairwise(positions) if below <= above]
    for above, below in falls[:SHOWN]:
        yield f"{name}: position {below} came after {above}"


def _membership_problems(
    reading: Reading, entries: Sequence[Entry], due: Sequence[Entry], positions: Sequence[int]
) -> Iterator[str]:
    name, received, owed = reading.name, set(positions), {entry.position for entry in due}
    for entry in entries:
        if entry.position in received - owed and not reading.tags & set(entry.audience):
            yield f"{name}: received position {entry.position}, whose audience is {entry.audience}"
            break
    if missing := sorted(owed - received):
        yield f"{name}: {len(missing)} of {len(owed)} missing, first at positions {missing[:SHOWN]}"


def _content_problems(reading: Reading, by_position: Mapping[int, Entry], positions: Sequence[int]) -> Iterator[str]:
    for position, delivery in zip(positions, reading.deliveries, strict=True):
        entry = by_position.get(position)
        if entry is None:
            yield f"{reading.name}: received position {position}, which the log does not have"
        elif delivery.data != json.loads(entry.event):
            yield f"{reading.name}: position {position} came as {_short(delivery.data)}, not as the log has it"
        elif delivery.type != entry.type:
            yield f"{reading.name}: position {position} came as an event {delivery.type!r}, not {entry.type!r}"


def _differences(what: str, expected: Sequence[object], found: Sequence[object]) -> Iterator[str]:
    """One line with the first places where the two sequences differ."""
    pairs = enumerate(zip_longest(expected, found, fillvalue="nothing"), start=1)
    different = [f"#{at}: expected {want}, found {got}" for at, (want, got) in pairs if want != got]
    if different:
        yield f"{what}, {len(different)} differ: " + "; ".join(different[:SHOWN])


def _first(problems: Iterable[str]) -> Iterator[str]:
    found = list(problems)
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield f"… and {len(found) - SHOWN} more like it"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
