"""The event log in MongoDB.

`heads` holds one document that says where the log ends and who may write; `entries` holds one
document a position; `checkpoints` one a follower. Appending moves the head and inserts the entries
in one transaction, so that the compare-and-set on the head orders all writers.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from shared.model.entry import Entry, Head, Identity, Page
from shared.model.errors import AppendConflict, FenceLost, LogGap, LogUnavailable
from shared.model.settings import Settings
from shared.mongo.client import DatabaseClient, from_now
from shared.mongo.documents import Document, entry_document, entry_of, head_of
from shared.mongo.log_upkeep import MongoLogUpkeep
from shared.mongo.schema import (
    AUDIENCE_INDEX,
    CHECKPOINTS,
    ENTRIES,
    HEAD_ID,
    HEADS,
    IDENTITY_INDEX,
    REMOVED_VERSIONS,
    STREAM_INDEX,
    ensure_schema,
)
from shared.mongo.transactions import TransactionThread
from shared.mongo.translation import translated_append
from shared.mongo.turns import Turns
from shared.ports.event_log import Fence

# The server merges at most 200 index scans in order (internalQueryMaxScansToExplode); with more it
# reads every entry of every tag and sorts them in memory. A reader of more tags is served in parts.
MAX_MERGED_TAGS = 150
Order = Sequence[tuple[str, int]]
BY_POSITION: Order = [("_id", ASCENDING)]
# A read that meets a hole looks at the head again: retention may have trimmed under it, but not
# faster than this many times.
READ_ATTEMPTS = 3


@asynccontextmanager
async def open_event_log(settings: Settings) -> AsyncIterator[MongoEventLog]:
    """The log of `settings.mongo_database`. Opening needs no server; the first call does."""
    log = MongoEventLog(DatabaseClient(settings, ensure_schema))
    try:
        yield log
    finally:
        await log.close()


class MongoEventLog:
    """See `shared.ports.event_log.EventLog` for the promises."""

    def __init__(self, client: DatabaseClient) -> None:
        self._client, self._database = client, client.database
        self._heads = self._database[HEADS]
        self._entries = self._database[ENTRIES]
        self._checkpoints = self._database[CHECKPOINTS]
        self._removed_versions = self._database[REMOVED_VERSIONS]
        # One thread: a log has one writer, and a batch whose caller went away ends before the next.
        self._appends = TransactionThread(client, "append")
        self._reads = Turns()
        self.upkeep = MongoLogUpkeep(client)

    async def close(self) -> None:
        """Ends the session, whose open transaction goes with it, and leaves the server."""
        await self._appends.close()

    async def head(self) -> Head:
        async with self._client.bounded():
            return await self._head()

    async def claim(self, owner: str, lease_s: float, *, force: bool) -> Fence | None:
        free = {"$or": [{"$eq": ["$owner", {"$literal": owner}]}, {"$lte": ["$lease_until", "$$NOW"]}]}
        claimable: Document = {"_id": HEAD_ID} if force else {"_id": HEAD_ID, "$expr": free}
        async with self._client.bounded():
            session = await self._appends.session_id()
            taken = {
                "epoch": {"$add": ["$epoch", 1]},
                "owner": {"$literal": owner},
                "session": {"$literal": session},
                "lease_until": from_now(lease_s),
            }
            head = await self._taken(claimable, taken)
        return Fence(head["epoch"], head["last"]) if head else None

    async def _taken(self, claimable: Document, taken: Document) -> Document | None:
        """The head as it was taken, also from a writer that was killed in the middle of an append."""
        return await self._client.freed(
            lambda: self._updated_head(claimable, taken), self._heads, claimable | {"session": {"$exists": True}}
        )

    async def _updated_head(self, claimable: Document, taken: Document) -> Document | None:
        return await self._heads.find_one_and_update(claimable, [{"$set": taken}], return_document=ReturnDocument.AFTER)

    async def renew(self, fence: Fence, lease_s: float) -> None:
        async with self._client.bounded():
            renewed = await self._heads.update_one(
                {"_id": HEAD_ID, "epoch": fence.epoch}, [{"$set": {"lease_until": from_now(lease_s)}}]
            )
        if not renewed.matched_count:
            raise FenceLost(f"epoch {fence.epoch} is over")

    async def append(self, fence: Fence, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with translated_append():
            documents = _documents(entries)
            async with self._client.bounded():
                is_mine = await self._appends.run(partial(_move_head_and_insert, fence.epoch, documents))
                head = None if is_mine else await self._heads.find_one({"_id": HEAD_ID})
        if is_mine:
            return
        if head is None or head["epoch"] != fence.epoch:
            raise FenceLost(f"epoch {fence.epoch} is over")
        raise AppendConflict(f"the log ends at {head['last']}, the batch begins at {entries[0].position}")

    async def positions(self, identities: Collection[Identity]) -> Mapping[Identity, int]:
        ids_by_source: dict[str, list[str]] = {}
        for source, id_ in identities:
            ids_by_source.setdefault(source, []).append(id_)
        if not ids_by_source:
            return {}
        # A branch a source: what is not in the log costs only keys of the index. One $in over sources
        # and one over ids is faster with many sources, but finds every mixture of their ids, too.
        wanted = {"$or": [{"source": source, "id": {"$in": ids}} for source, ids in ids_by_source.items()]}
        async with self._client.bounded():
            found = self._entries.find(wanted, {"source": 1, "id": 1}, hint=IDENTITY_INDEX, batch_size=len(identities))
            return {(one["source"], one["id"]): one["_id"] for one in await found.to_list(len(identities))}

    async def entries(self, positions: Collection[int]) -> Sequence[Entry]:
        if not positions:
            return []
        async with self._reads.one(), self._client.bounded():
            found = await self._found({"_id": {"$in": list(positions)}}, len(positions), hint="_id_")
        return list(map(entry_of, found))

    async def versions(self, subjects: Collection[str]) -> Mapping[str, int]:
        if not subjects:
            return {}
        # In this shape the planner jumps from subject to subject (DISTINCT_SCAN), however long each stream.
        last_of_each: list[Document] = [
            {"$match": {"subject": {"$in": list(subjects)}}},
            {"$sort": {"subject": DESCENDING, "version": DESCENDING}},
            {"$group": {"_id": "$subject", "version": {"$first": "$version"}}},
        ]
        async with self._client.bounded():
            found = self._entries.aggregate(last_of_each, hint=STREAM_INDEX, batchSize=len(subjects))
            versions = {one["_id"]: one["version"] for one in await found.to_list(len(subjects))}
            if absent := [subject for subject in subjects if subject not in versions]:
                removed = self._removed_versions.find({"_id": {"$in": absent}})
                versions |= {one["_id"]: one["version"] for one in await removed.to_list(len(absent))}
            return versions

    async def read(self, after: int, limit: int, tags: Collection[str] | None = None) -> Page:
        for _ in range(READ_ATTEMPTS):
            async with self._reads.one(), self._client.bounded():
                # The head first: a query without its bound could return a later batch of one tag
                # and not an earlier one of another that committed while the scans were merged.
                head = await self._head()
                # What lies below the floor is gone, also while it is only being removed.
                documents = await self._between(max(after, head.floor), head.last, limit, tags)
            through = _through(documents, limit, after, head)
            if tags is not None or _is_whole(documents, max(after, head.floor), through):
                return Page(list(map(entry_of, documents)), through, head)
        raise LogGap(f"positions are missing between {max(after, head.floor)} and {through}")

    async def read_stream(self, subject: str, after_version: int, limit: int) -> Page:
        async with self._reads.one(), self._client.bounded():
            # The head first, as in `read`.
            head = await self._head()
            wanted = {"subject": subject, "version": {"$gt": after_version}, "_id": {"$lte": head.last}}
            order: Order = [("version", ASCENDING)]
            documents = await self._found(wanted, limit, STREAM_INDEX, order)
        return Page(list(map(entry_of, documents)), _through(documents, limit, 0, head), head)

    async def _between(self, after: int, last: int, limit: int, tags: Collection[str] | None) -> list[Document]:
        if last <= after:
            return []
        if tags is None:
            return await self._found({"_id": {"$gt": after, "$lte": last}}, limit, hint="_id_")
        distinct = iter(dict.fromkeys(tags))
        parts = []
        while some := list(islice(distinct, MAX_MERGED_TAGS)):
            wanted = {"audience": {"$in": some}, "_id": {"$gt": after, "$lte": last}}
            parts.append(await self._found(wanted, limit, hint=AUDIENCE_INDEX))
        return parts[0] if len(parts) == 1 else _merged(parts, limit)

    async def _found(self, wanted: Document, limit: int, hint: str, order: Order = BY_POSITION) -> list[Document]:
        if limit < 1:  # which the server would take for no limit at all
            return []
        cursor = self._entries.find(wanted, sort=order, limit=limit, batch_size=limit, hint=hint)
        return await cursor.to_list(limit)

    async def checkpoint(self, name: str) -> int:
        async with self._client.bounded():
            found = await self._checkpoints.find_one({"_id": name})
        return int(found["position"]) if found else 0

    async def move_checkpoint(self, fence: Fence, name: str, position: int) -> None:
        async with self._client.bounded():
            if not await self._heads.find_one({"_id": HEAD_ID, "epoch": fence.epoch}, {"_id": 1}):
                raise FenceLost(f"epoch {fence.epoch} is over")
            # The second try tells a later epoch from two first moves that met.
            if not (await self._moved(fence, name, position) or await self._moved(fence, name, position)):
                raise FenceLost(f"epoch {fence.epoch} is over: a later one has moved {name!r}")

    async def _moved(self, fence: Fence, name: str, position: int) -> bool:
        """The epoch in the checkpoint holds off a writer that was paused after it looked at the head."""
        try:
            await self._checkpoints.update_one(
                {"_id": name, "epoch": {"$lte": fence.epoch}},
                {"$set": {"epoch": fence.epoch}, "$max": {"position": position}},
                upsert=True,
            )
        except DuplicateKeyError:
            return False
        return True

    async def _head(self) -> Head:
        document: Any = await self._heads.find_one({"_id": HEAD_ID})
        if document is None:
            self._client.prepare_again()
            raise LogUnavailable("its head is missing: somebody dropped the database")
        return head_of(document)


def _move_head_and_insert(
    epoch: int, documents: list[Document], database: Database[Document], session: ClientSession
) -> bool:
    """The transaction of an append; False where the head is not as expected."""
    first, last = documents[0]["_id"], documents[-1]["_id"]
    moved = database[HEADS].update_one(
        {"_id": HEAD_ID, "epoch": epoch, "last": first - 1}, {"$set": {"last": last}}, session=session
    )
    if moved.matched_count:
        database[ENTRIES].insert_many(documents, ordered=True, session=session)
    return bool(moved.matched_count)


def _documents(entries: Sequence[Entry]) -> list[Document]:
    first = entries[0].position
    if any(entry.position != first + index for index, entry in enumerate(entries)):
        raise AppendConflict(f"the positions of the batch do not follow {first} one by one")
    return list(map(entry_document, entries))


def _merged(parts: list[list[Document]], limit: int) -> list[Document]:
    """The first `limit` of several ordered lists, each position once."""
    by_position = {document["_id"]: document for document in heapq.merge(*parts, key=itemgetter("_id"))}
    return list(islice(by_position.values(), limit))


def _through(documents: Sequence[Document], limit: int, after: int, head: Head) -> int:
    """How far a read got: a full page says nothing of what follows its last entry."""
    if len(documents) < limit:
        return max(after, head.last)
    return int(documents[-1]["_id"]) if documents else after


def _is_whole(documents: Sequence[Document], after: int, through: int) -> bool:
    """Whether the documents are exactly the positions above `after` up to `through`."""
    return [document["_id"] for document in documents] == list(range(after + 1, through + 1))
