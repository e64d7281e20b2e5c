"""The journeys of events in MongoDB; the server's TTL index takes what is over its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
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
        documents = {document["_id"]: document for step in steps if (document := _document(step, kept_until))}
        async with self._client.bounded():
            try:
                await self._steps.insert_many(documents.values(), ordered=False)
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
            found = self._steps.find(wanted | living, limit=limit).sort([("began_us", ASCENDING), ("span", ASCENDING)])
            return [_step(document) for document in await found.to_list(limit)]


def _document(step: Step, kept_until: datetime) -> Document:
    """What is usual is left out."""
    document: Document = {
        "_id": blake2b("\0".join(step.key).encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest(),
        "stage": step.stage,
        "source": step.source,
        "id": step.id,
        "trace": step.trace,
        "span": step.span,
        "began_us": step.began_us,
        "took_us": step.took_us,
        "service": step.service,
        "kept_until": kept_until,
    }
    if step.parent is not None:
        document["parent"] = step.parent
    if step.outcome != DONE:
        document |= {"outcome": step.outcome, "reason": step.reason}
    if step.about:
        # As pairs: a name may hold what a field's name may not.
        document["about"] = [[name, value] for name, value in step.about.items()]
    return document


def _step(document: Mapping[str, Any]) -> Step:
    """The inverse of `_document`."""
    return Step(
        stage=document["stage"],
        source=document["source"],
        id=document["id"],
        trace=document["trace"],
        span=document["span"],
        parent=document.get("parent"),
        began_us=document["began_us"],
        took_us=document["took_us"],
        service=document["service"],
        outcome=document.get("outcome", DONE),
        reason=document.get("reason"),
        about=dict(document.get("about", ())),
    )
