"""The keys of producers in MongoDB."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from shared.model.errors import KeyTaken
from shared.model.settings import Settings
from shared.mongo.client import DatabaseClient
from shared.mongo.documents import Document
from shared.mongo.schema import PRODUCER_KEYS, ensure_producer_schema
from shared.ports.producers import KeyRecord


@asynccontextmanager
async def open_producer_store(settings: Settings) -> AsyncIterator[MongoProducerStore]:
    """The store in `settings.mongo_database`. Opening needs no server; the first call does."""
    store = MongoProducerStore(DatabaseClient(settings, ensure_producer_schema))
    try:
        yield store
    finally:
        await store.close()


class MongoProducerStore:
    """See `shared.ports.producers.ProducerStore` for the promises."""

    def __init__(self, client: DatabaseClient) -> None:
        self._client = client
        self._keys = client.database[PRODUCER_KEYS]

    async def close(self) -> None:
        """Leaves the server."""
        await self._client.close()

    async def add(self, key: KeyRecord) -> None:
        async with self._client.bounded():
            try:
                await self._keys.insert_one(_document(key))
            except DuplicateKeyError as taken:
                raise KeyTaken(f"the key {key.id} is there already") from taken

    async def find(self, digest: str) -> KeyRecord | None:
        async with self._client.bounded():
            return _record(await self._keys.find_one({"digest": digest}))

    async def revoke(self, id_: str, at: datetime, *, gone: bool = False) -> KeyRecord | None:
        revoked = {
            "revoked_at": {"$ifNull": ["$revoked_at", at]},
            "is_gone": {"$or": [{"$ifNull": ["$is_gone", False]}, gone]},
        }
        async with self._client.bounded():
            return _record(
                await self._keys.find_one_and_update(
                    {"_id": id_}, [{"$set": revoked}], return_document=ReturnDocument.AFTER
                )
            )

    async def keys(self, *, name: str | None = None, after: str = "", limit: int = 100) -> Sequence[KeyRecord]:
        if limit < 1:  # which the server would take for no limit at all
            return []
        of_name = {} if name is None else {"name": name}
        async with self._client.bounded():
            found = self._keys.find({**of_name, "_id": {"$gt": after}}, sort=[("_id", ASCENDING)], limit=limit)
            return [record for one in await found.to_list(limit) if (record := _record(one))]


def _document(key: KeyRecord) -> Document:
    """What is usual is left out."""
    document: Document = {
        "_id": key.id,
        "digest": key.digest,
        "name": key.name,
        "created_at": key.created_at,
        "sources": list(key.sources),
        "types": list(key.types),
    }
    optional = {"events_per_s": key.events_per_s, "expires_at": key.expires_at, "revoked_at": key.revoked_at}
    document |= {name: value for name, value in optional.items() if value is not None}
    return document | ({"is_gone": True} if key.is_gone else {})


def _record(document: Mapping[str, Any] | None) -> KeyRecord | None:
    """The inverse of `_document`."""
    if document is None:
        return None
    return KeyRecord(
        id=document["_id"],
        digest=document["digest"],
        name=document["name"],
        created_at=document["created_at"],
        sources=tuple(document["sources"]),
        types=tuple(document["types"]),
        events_per_s=document.get("events_per_s"),
        expires_at=document.get("expires_at"),
        revoked_at=document.get("revoked_at"),
        is_gone=document.get("is_gone", False),
    )
