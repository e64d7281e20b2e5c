"""Retention of the event log in MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo import ASCENDING, ReturnDocument, UpdateOne

from shared.model.entry import Entry, Head
from shared.model.errors import LogNotEmpty, LogUnavailable
from shared.mongo.client import DatabaseClient
from shared.mongo.documents import Document, HeadDocument, head_of
from shared.mongo.schema import ENTRIES, HEAD_ID, HEADS, REMOVED_VERSIONS


class MongoLogUpkeep:
    """`shared.ports.log_upkeep.LogUpkeep` over the database of a log."""

    def __init__(self, client: DatabaseClient) -> None:
        self._client = client
        self._heads = client.database[HEADS]
        self._entries = client.database[ENTRIES]
        self._versions = client.database[REMOVED_VERSIONS]

    async def raise_floor(self, position: int) -> Head:
        raised = [{"$set": {"floor": {"$max": ["$floor", {"$min": [position, "$last"]}]}}}]
        async with self._client.bounded():
            head = await self._heads.find_one_and_update({"_id": HEAD_ID}, raised, return_document=ReturnDocument.AFTER)
        return head_of(self._present(head))

    async def remove(self, through: int, limit: int) -> int:
        async with self._client.bounded():
            floor = self._present(await self._heads.find_one({"_id": HEAD_ID}))["floor"]
            below = {"_id": {"$lte": min(through, floor)}}
            oldest = self._entries.find(below, {"subject": 1, "version": 1}, sort=[("_id", ASCENDING)], limit=limit)
            found: list[Document] = await oldest.to_list(limit)
            if found:
                # First, so that no moment has neither the entries nor the version that their stream has reached.
                await self._keep_versions(_last_versions(found))
                await self._entries.delete_many({"_id": {"$lte": found[-1]["_id"]}})
        return len(found)

    async def replace(self, entries: Sequence[Entry]) -> None:
        changes = [
            UpdateOne(
                {"_id": entry.position}, {"$set": {"audience": list(entry.audience), "event": entry.event.decode()}}
            )
            for entry in entries
        ]
        if changes:
            async with self._client.bounded():
                await self._entries.bulk_write(changes, ordered=False)

    async def removed_versions(self, after: str, limit: int) -> Mapping[str, int]:
        async with self._client.bounded():
            found = self._versions.find({"_id": {"$gt": after}}, sort=[("_id", ASCENDING)], limit=limit)
            return {one["_id"]: one["version"] for one in await found.to_list(limit)}

    async def restore(self, head: Head, versions: Mapping[str, int]) -> None:
        taken = {"log_id": head.log_id, "floor": head.floor, "last": head.floor}
        async with self._client.bounded():
            # Before the head: once the log has its floor, its streams go on where they were.
            if self._present(await self._heads.find_one({"_id": HEAD_ID}))["last"] == 0:
                await self._keep_versions(versions)
            restored = await self._heads.update_one({"_id": HEAD_ID, "last": 0}, {"$set": taken})
        if not restored.matched_count:
            raise LogNotEmpty("the log holds entries, or held some")

    async def _keep_versions(self, versions: Mapping[str, int]) -> None:
        changes = [
            UpdateOne({"_id": subject}, {"$max": {"version": version}}, upsert=True)
            for subject, version in versions.items()
        ]
        if changes:
            await self._versions.bulk_write(changes, ordered=False)

    def _present(self, head: Document | HeadDocument | None) -> HeadDocument:
        if head is None:
            self._client.prepare_again()
            raise LogUnavailable("its head is missing: somebody dropped the database")
        return head  # type: ignore[return-value]  # the one document of its collection


def _last_versions(found: Sequence[Document]) -> dict[str, int]:
    """The last version of each stream among these entries, which are in the log's order."""
    return {one["subject"]: one["version"] for one in found if "subject" in one}
