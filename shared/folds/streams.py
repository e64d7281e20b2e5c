"""Streams by subject: what is known of a job, a run, an order while its events come.

State is the merge patch (RFC 7396) of the events' `data` objects. An event with a terminal status, or
with `final`, ends its stream; what comes after it counts, and changes nothing. An event without an
audience is seen by nobody, and is no part of what anybody sees.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic_core import from_json, to_json

from shared.folds import steps
from shared.folds.audiences import Audiences
from shared.folds.merge_patch import merge_patch
from shared.folds.moments import between_ms, moment_of
from shared.folds.projection import Projection
from shared.model.entry import Entry
from shared.model.errors import InvalidInput
from shared.model.event import MAX_LONG_BYTES
from shared.model.read_model import Changes, Model, Range, Reading, Row, Table, Value, count, get, rows

ENDED = frozenset({"completed", "failed", "passed", "error", "cancelled"})
STATUSES = ("pending", "running", *sorted(ENDED))

# A state is what a page shows; like an event, what is larger belongs behind a link.
MAX_STATE_BYTES = 256 * 1024
# Lists find a stream by so many tags of its audiences; a run for more people is a topic's.
MAX_LISTED_TAGS = 200
# `job/`, `job/build/`: so many leading parts of a subject are prefixes to list by.
MAX_PREFIX_PARTS = 2
# Nobody reads a larger number, and counting on would cost by the size of the history.
MAX_COUNTED = 1000

TABLE = "streams"
BY_START = ("listed", "began_at")
BY_STATUS = ("listed", "status", "began_at")
MODEL = Model("streams", 3, (Table(TABLE, (BY_START, BY_STATUS)),))
# Operators list every stream: no tag of anybody's is empty.
ANYBODY = ""


@dataclass(slots=True)
class Stream:
    """One subject, folded up to a version."""

    subject: str
    state: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    """Of the last event seen; those without an audience count in the log, but are not seen."""
    began_at: int = 0
    """Positions in the log: of the first event, and of the one that ended the stream."""
    ended_at: int | None = None
    status: str | None = None
    started: str | None = None
    """Times, RFC 3339."""
    updated: str | None = None
    ended: str | None = None
    is_truncated: bool = False
    """Whether an event was too much for the state, and only its status and progress were taken."""
    size_bytes: int = len(b"{}")
    """No less than the state's as JSON."""
    tags: tuple[str, ...] = ()
    """What lists find it by."""
    audiences: Audiences = field(default_factory=Audiences)

    @classmethod
    def of(cls, subject: str, row: Row | None) -> Self:
        """As a row keeps it; a new one without a row."""
        if row is None:
            return cls(subject)
        kept = dict(row.body)
        kept["tags"] = tuple(kept["tags"])
        narrowest, *told = kept["audiences"]
        kept["audiences"] = Audiences(tuple(map(tuple, narrowest)), *told)
        return cls(subject, **kept)

    def row(self) -> Row:
        """The inverse of `of`."""
        body = {name: getattr(self, name) for name in self.__slots__ if name != "subject"}
        audiences = self.audiences
        body["audiences"] = [audiences.narrowest, audiences.are_all, audiences.are_too_many]
        listed = [place(tag, prefix) for tag in (ANYBODY, *self.tags) for prefix in prefixes(self.subject)]
        return Row(self.subject, body, {"listed": listed, "status": self.status, "began_at": self.began_at})

    @property
    def progress(self) -> float | None:
        """0 to 100, as the state says."""
        told = self.state.get("progress")
        if isinstance(told, bool) or not isinstance(told, int | float):
            return None
        return max(0, min(100, told))

    @property
    def is_ended(self) -> bool:
        return self.ended_at is not None

    def add(self, entry: Entry) -> None:
        """Takes the next event of the stream."""
        if not entry.audience:
            return
        self.version = entry.version or 0
        self._widen(entry.audience)
        if self.is_ended:
            return
        attributes = from_json(entry.event)
        self.updated = moment_of(entry, attributes)
        if self.started is None:
            self.began_at, self.started = entry.position, self.updated
        if isinstance(patch := attributes.get("data"), dict):
            self._patch(patch, self.updated)
        if self.status in ENDED or entry.final:
            self.ended_at, self.ended = entry.position, self.updated
            self.status = self.status if self.status in ENDED else "completed"

    def _widen(self, tags: tuple[str, ...]) -> None:
        self.audiences = self.audiences.with_audience(tags)
        if len(self.tags) < MAX_LISTED_TAGS and not set(self.tags).issuperset(tags):
            self.tags = tuple(dict.fromkeys((*self.tags, *tags)))[:MAX_LISTED_TAGS]

    def _patch(self, patch: dict[str, Any], time: str) -> None:
        state = merge_patch(self.state, patch)
        steps.fill_times(self.state, patch, state, time)
        self.size_bytes += len(to_json(patch)) + steps.FILLED_BYTES * steps.count_of(patch)
        if self.size_bytes > MAX_STATE_BYTES:
            self.size_bytes = len(to_json(state))
        if self.size_bytes > MAX_STATE_BYTES:
            self.is_truncated = True
            state = merge_patch(self.state, _essence(patch))
            self.size_bytes = len(to_json(state))
        self.state = state
        status = state.get("status")
        self.status = status if status in STATUSES else None

    def document(self) -> dict[str, Any]:
        """As clients see it."""
        return {"subject": self.subject, "state": self.state, **self.summary()}

    def summary(self) -> dict[str, Any]:
        """The same without the state, for lists."""
        return {
            "subject": self.subject,
            "version": self.version,
            "status": self.status,
            "progress": self.progress,
            "started_at": self.started,
            "updated_at": self.updated,
            "ended_at": self.ended,
            "duration_ms": between_ms(self.started, self.ended),
            "final": self.is_ended,
            "truncated": self.is_truncated,
        }


def ending(entry: Entry) -> str | None:
    """The status that an event ends its stream with; None where it does not end it."""
    data = from_json(entry.event).get("data")
    status = data.get("status") if isinstance(data, dict) else None
    if isinstance(status, str) and status in ENDED:
        return status
    return "completed" if entry.final else None


def _essence(patch: Mapping[str, Any]) -> dict[str, Any]:
    """What must not be lost of an event that is too much for the state."""
    told = {name: patch.get(name) for name in ("status", "progress")}
    return {name: value for name, value in told.items() if isinstance(value, int | float) or value in STATUSES}


def prefixes(subject: str) -> Sequence[str]:
    """What the subject is listed under: nothing, and its leading parts, each with its `/`."""
    parts = subject.split("/")[:-1][:MAX_PREFIX_PARTS]
    return ["", *("/".join(parts[:number]) + "/" for number in range(1, len(parts) + 1))]


def checked_prefix(prefix: str) -> str:
    """The prefix itself, where streams are listed by it. Raises `InvalidInput`."""
    if prefix not in prefixes(f"{prefix}x") or len(prefix.encode()) > MAX_LONG_BYTES:
        fix = f"name up to {MAX_PREFIX_PARTS} leading parts of the subjects, and end with /: prefix=job/"
        raise InvalidInput("prefix", f"{prefix[:40]!r} is nothing to list by", fix)
    return prefix


def place(tag: str, prefix: str) -> str:
    """Where an index finds the streams of a tag under a prefix. No tag holds a space."""
    return f"{tag} {prefix}"


def fold(entries: Sequence[Entry]) -> Reading[Changes]:
    """The streams of these entries, as they are afterwards."""
    seen = [(entry.subject, entry) for entry in entries if entry.subject is not None and entry.audience]
    known = yield from get(TABLE, {subject for subject, _ in seen})
    streams: dict[str, Stream] = {}
    for subject, entry in seen:
        if subject not in streams:
            streams[subject] = Stream.of(subject, known.get(subject))
        streams[subject].add(entry)
    return {TABLE: {subject: stream.row() for subject, stream in streams.items()}}


STREAMS = Projection(MODEL, fold)


def stream(subject: str) -> Reading[Stream]:
    """The stream as it was folded; an empty one where there is none."""
    return Stream.of(subject, (yield from get(TABLE, [subject])).get(subject))


def page(
    tags: Collection[str], prefix: str, statuses: Collection[str], before: int | None, limit: int
) -> Reading[Sequence[Stream]]:
    """Streams that one of the tags may see, those that began last first, below the position `before`."""
    found = yield from rows(_listed(tags, prefix, statuses, before, limit))
    return [Stream.of(row.key, row) for row in found]


def counts(tags: Collection[str], prefix: str) -> Reading[Mapping[str, int]]:
    """How many of them have each status; `MAX_COUNTED` where there are more."""
    found = {}
    for status in STATUSES:
        if number := (yield from count(_listed(tags, prefix, [status], None, MAX_COUNTED), MAX_COUNTED)):
            found[status] = number
    return found


def _listed(tags: Collection[str], prefix: str, statuses: Collection[str], before: int | None, limit: int) -> Range:
    equal: dict[str, Value | Sequence[Value]] = {"listed": [place(tag, prefix) for tag in sorted(tags)]}
    if statuses:
        equal["status"] = sorted(statuses)
    return Range(TABLE, BY_STATUS if statuses else BY_START, equal, below=before, descending=True, limit=limit)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of streams, and how many there are, as of one instant."""

    streams: Sequence[Stream]
    counts: Mapping[str, int]


def listing(
    tags: Collection[str], prefix: str, statuses: Collection[str], before: int | None, limit: int
) -> Reading[Listing]:
    """A page of streams with counts by status."""
    found = yield from page(tags, prefix, statuses, before, limit)
    return Listing(found, (yield from counts(tags, prefix)))
