"""The journeys of events in MongoDB; the server's TTL index takes what is over its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from pymongo import ASCENDING, WriteConcern
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern

from shared.model.settings import Settings
from shared.mongo.client import DatabaseClient
from shared.mongo.documents import Document
from shared.mongo.schema import STEPS, ensure_journey_schema
from shared.mongo.translation import DUPLICATE_KEY
from shared.ports.journeys import DONE, Step

KEY_BYTES = 16


@asynccontextmanager
async def open_journey_store(settings: Settings) -> AsyncIterator[MongoJourneyStore]:
    """The store in `settings.mongo_database`. Opening needs no server; the first call does."""
    store = MongoJourneyStore(DatabaseClient(settings, ensure_journey_schema))
    try:
        yield store
    finally:
        await store.close()


class MongoJourneyStore:
    """See `shared.ports.journeys.JourneyStore` for the promises."""

    def __init__(self, client: DatabaseClient) -> None:
        self._client = client
        # No journal: after a power cut some steps may be missing, which no event depends on.
        self._steps = client.database[STEPS].with_options(
            write_concern=WriteConcern("majority", j=False), read_concern=ReadConcern("local")
        )

    async def close(self) -> None:
        """Leaves the server."""
        await self._client.close()

    async def keep(self, steps: Collection[Step], kept_s: float) -> None:
        if not steps:
            return
        kept_until = datetime.now(UTC) + timedelta(seconds=kept_s)
        together: dict[tuple[str, ...], dict[tuple[str, ...], Step]] = {}
        for step in steps:
            together.setdefault((step.id, step.source, step.trace, step.service), {})[step.key] = step
        documents = [_document(list(found.values()), kept_until) for found in together.values()]
        async with self._client.bounded():
            try:
                await self._steps.insert_many(documents, ordered=False)
            except BulkWriteError as failed:
                if any(error["code"] != DUPLICATE_KEY for error in failed.details["writeErrors"]):
                    raise

    async def of_event(self, id_: str, source: str | None = None, *, limit: int) -> Sequence[Step]:
        return await self._found({"id": id_} if source is None else {"id": id_, "source": source}, limit)

    async def of_trace(self, trace: str, *, limit: int) -> Sequence[Step]:
        return await self._found({"trace": trace}, limit)

    async def _found(self, wanted: Document, limit: int) -> list[Step]:
        if limit < 1:  # which the server would take for no limit at all
            return []
        living = {"kept_until": {"$gt": datetime.now(UTC)}}
        async with self._client.bounded():
            # Each document begins with its first step: as many of them hold as many first steps.
            found = await self._steps.find(wanted | living, limit=limit).sort("began_us", ASCENDING).to_list(limit)
        steps = {step.key: step for document in found for step in _steps_of(document)}
        return sorted(steps.values(), key=lambda step: (step.began_us, step.span))[:limit]


def _document(steps: Sequence[Step], kept_until: datetime) -> Document:
    """What one process tells of one event at a time; what is usual is left out.

    One document, where one for each step would cost the server the same indexes several times over.
    """
    first = steps[0]
    keys = sorted("\0".join(step.key) for step in steps)
    return {
        "_id": blake2b("\0".join(keys).encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest(),
        "id": first.id,
        "source": first.source,
        "trace": first.trace,
        "service": first.service,
        "began_us": min(step.began_us for step in steps),
        "kept_until": kept_until,
        "steps": list(map(_inner, steps)),
    }


def _inner(step: Step) -> Document:
    inner: Document = {"stage": step.stage, "span": step.span, "at_us": step.began_us, "took_us": step.took_us}
    if step.parent is not None:
        inner["parent"] = step.parent
    if step.outcome != DONE:
        inner |= {"outcome": step.outcome, "reason": step.reason}
    if step.about:
        # As pairs: a name may hold what a field's name may not.
        inner["about"] = [[name, value] for name, value in step.about.items()]
    return inner


def _steps_of(document: Mapping[str, Any]) -> Iterator[Step]:
    """The inverse of `_document`."""
    for inner in document["steps"]:
        yield Step(
            stage=inner["stage"],
            source=document["source"],
            id=document["id"],
            trace=document["trace"],
            span=inner["span"],
            parent=inner.get("parent"),
            began_us=inner["at_us"],
            took_us=inner["took_us"],
            service=document["service"],
            outcome=inner.get("outcome", DONE),
            reason=inner.get("reason"),
            about=dict(inner.get("about", ())),
        )
