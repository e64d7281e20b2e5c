"""Streams of one subject, as a session sees them: what was folded, and from the log what was not yet."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.folds import streams
from shared.folds.audiences import Sight
from shared.folds.streams import MODEL, Stream
from shared.model.cursor import Cursor
from shared.model.entry import Head
from shared.model.errors import ModelMissing

if TYPE_CHECKING:
    from services.edge.edge import Edge
    from services.edge.subject_requests import Wanted
    from shared.model.read_model import Reading
    from shared.ports.read_models import Found, Generation, ReadModels

PAGE_EVENTS = 500
# What the fold lags behind for one subject is seconds of events. With more it is being built, or stopped.
MAX_UNFOLDED_EVENTS = 10_000
# Of a stream that a session sees only in part: its last events, folded for it alone.
MAX_PART_EVENTS = 10_000
# The same for each line of a list.
MAX_LISTED_PART_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream at the end of the log, as one session sees it."""

    stream: Stream
    """Of version 0 where the session sees nothing of it."""
    is_known: bool
    """Whether there are events that somebody may see."""
    head: Head
    """Every event at or below its end is in it."""

    @property
    def cursor(self) -> str:
        """Where live events go on."""
        return str(Cursor(self.head.log_id, self.head.last))

    def document(self) -> dict[str, Any]:
        """As clients see it."""
        return self.stream.document() | {"cursor": self.cursor}


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of streams."""

    items: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    next: str | None
    cursor: str
    """Where the events begin that are not in it."""

    def document(self) -> dict[str, Any]:
        """As clients see it."""
        told = {"items": self.items, "counts": self.counts, "counts_limit": streams.MAX_COUNTED - 1}
        return told | {"next": self.next, "cursor": self.cursor}


class Subjects:
    """Reads the model of streams."""

    def __init__(self, edge: Edge, models: ReadModels) -> None:
        self._edge, self._models = edge, models

    async def snapshot(self, subject: str, tags: Collection[str]) -> Snapshot:
        """The stream for a session with these tags. Raises `LogUnavailable`, `ModelMissing`."""
        return await self.seen(await self.whole(subject), tags)

    async def whole(self, subject: str) -> tuple[Stream, Head]:
        """The stream with all of its events, whoever may see them. Raises `LogUnavailable`, `ModelMissing`."""
        found = await self._read(streams.stream(subject))
        return found.result, await self._complete(found.result, found.generation)

    async def seen(self, whole: tuple[Stream, Head], tags: Collection[str]) -> Snapshot:
        """What a session with these tags sees of it. Raises `LogUnavailable`."""
        stream, head = whole
        seen = await self._as_seen(stream, tags, MAX_PART_EVENTS)
        return Snapshot(seen, is_known=stream.version > 0, head=head)

    async def listed(self, tags: Collection[str], wanted: Wanted) -> Listed:
        """The streams that begin with a prefix, as of the position that has been folded."""
        reading = streams.listing(tags, wanted.prefix, wanted.statuses, wanted.before, wanted.limit)
        found = await self._read(reading)
        log_id, rows = found.generation.log_id, found.result.streams
        seen = await asyncio.gather(*(self._as_seen(stream, tags, MAX_LISTED_PART_EVENTS) for stream in rows))
        return Listed(
            items=[stream.summary() for stream in seen if stream.version],
            counts=found.result.counts,
            next=str(Cursor(log_id, rows[-1].began_at)) if len(rows) == wanted.limit else None,
            cursor=str(Cursor(log_id, found.generation.position)),
        )

    async def _read(self, reading: Reading[Any]) -> Found[Any]:
        return await self._models.read(MODEL.name, reading)

    async def _complete(self, stream: Stream, generation: Generation) -> Head:
        """Adds what the log has and the model has not; returns where the log ended then."""
        seen = stream.version
        for _ in range(MAX_UNFOLDED_EVENTS // PAGE_EVENTS):
            page = await self._edge.read_stream(stream.subject, seen, PAGE_EVENTS)
            if page.head.log_id != generation.log_id:
                raise ModelMissing(f"{MODEL.name!r} was folded from another log")
            for entry in page.entries:
                stream.add(entry)
                seen = entry.version or seen
            if page.at_head:
                return page.head
        raise ModelMissing(f"{MODEL.name!r} is far behind the log")

    async def _as_seen(self, stream: Stream, tags: Collection[str], max_events: int) -> Stream:
        match stream.audiences.sight(tags):
            case Sight.WHOLE:
                return stream
            case Sight.NOTHING:
                return Stream(stream.subject)
        return await self._part(stream, tags, max_events)

    async def _part(self, whole: Stream, tags: Collection[str], max_events: int) -> Stream:
        """The stream folded from those of its last events that these tags may see."""
        part, seen = Stream(whole.subject), max(0, whole.version - max_events)
        part.is_truncated = seen > 0
        while seen < whole.version:
            page = await self._edge.read_stream(whole.subject, seen, PAGE_EVENTS)
            for entry in page.entries:
                if not set(tags).isdisjoint(entry.audience):
                    part.add(entry)
            if page.at_head:
                break
            seen = page.entries[-1].version or whole.version
        return part
