"""What edges share, in MongoDB: tickets, and who is connected where.

`edges` holds one document for each edge whose lease nobody found expired; its `term` is the name of
this unbroken time. A connection carries the term that it was opened in, and is an orphan for good
once no edge has that term: so an edge that wakes up and renews late cannot bring back a connection
while another process takes it, and a connection that it opens anew is not taken for the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, ReplaceOne, ReturnDocument

from shared.model.settings import Settings
from shared.mongo.client import DatabaseClient, from_now
from shared.mongo.documents import Document
from shared.mongo.schema import CONNECTIONS, EDGES, TERM_INDEX, TICKETS, USER_INDEX, ensure_session_schema
from shared.mongo.translation import translated
from shared.mongo.turns import Turns
from shared.ports.sessions import ConnectionRecord, Places

# Of Motor's threads, which the log's readers need, too.
TAKEN_AT_ONCE = 5
# Then what was taken is handed out: what a call takes and fails to return is told to nobody.
SHARE_OF_TAKING = 0.5
# Of an edge that never renewed, or whose lease was found expired; no edge ever has it.
NO_TERM = ""

LEASE_RUNS: Document = {"$expr": {"$gt": ["$lease_until", "$$NOW"]}}
LEASE_RAN_OUT: Document = {"$expr": {"$lte": ["$lease_until", "$$NOW"]}}


@asynccontextmanager
async def open_session_store(settings: Settings) -> AsyncIterator[MongoSessionStore]:
    """The store in `settings.mongo_database`. Opening needs no server; the first call does."""
    store = MongoSessionStore(DatabaseClient(settings, ensure_session_schema))
    try:
        yield store
    finally:
        await store.close()


class MongoSessionStore:
    """See `shared.ports.sessions.SessionStore` for the promises."""

    def __init__(self, client: DatabaseClient) -> None:
        self._client = client
        self._tickets = client.database[TICKETS]
        self._edges = client.database[EDGES]
        self._connections = client.database[CONNECTIONS]
        self._ticket_calls = Turns()

    async def close(self) -> None:
        """Leaves the server."""
        await self._client.close()

    async def keep_ticket(self, digest: str, content: str, ttl_s: float) -> None:
        kept = {"content": {"$literal": content}, "expires_at": from_now(ttl_s)}
        async with self._ticket_calls.one(), self._client.bounded():
            await self._tickets.update_one({"_id": digest}, [{"$set": kept}], upsert=True)

    async def take_ticket(self, digest: str) -> str | None:
        fresh = {"_id": digest, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}
        async with self._ticket_calls.one(), self._client.bounded():
            taken = await self._tickets.find_one_and_delete(fresh)
        return str(taken["content"]) if taken else None

    async def renew(self, edge: str, lease_s: float, places: Places | None = None) -> str:
        # Late, it goes on with its term as long as nobody found the lease expired.
        renewed = {"lease_until": from_now(lease_s), "term": {"$ifNull": ["$term", uuid4().hex]}}
        if places is not None:
            # Pairs: an id may hold what a field's name may not.
            behind = [list(pair) for pair in places.behind.items()]
            renewed["places"] = {"$literal": {"position": places.position, "behind": behind}}
        async with self._client.bounded():
            after = await self._edges.find_one_and_update(
                {"_id": edge}, [{"$set": renewed}], upsert=True, return_document=ReturnDocument.AFTER
            )
        assert after is not None, "an upsert has a result"
        return str(after["term"])

    async def opened(self, connections: Collection[ConnectionRecord]) -> None:
        if not connections:
            return
        async with self._client.bounded():
            terms = await self._terms({"_id": {"$in": list({record.edge for record in connections})}})
            documents = [_document(record, terms.get(record.edge, NO_TERM)) for record in connections]
            listed = [ReplaceOne({"_id": document["_id"]}, document, upsert=True) for document in documents]
            await self._connections.bulk_write(listed, ordered=False)

    async def closed(self, ids: Collection[str]) -> None:
        if not ids:
            return
        async with self._client.bounded():
            await self._connections.delete_many({"_id": {"$in": list(ids)}})

    async def connections(
        self, *, sub: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ConnectionRecord]:
        if limit < 1:  # which the server would take for no limit at all
            return []
        user = {} if sub is None else {"sub": sub}
        async with self._client.bounded():
            living = await self._terms(LEASE_RUNS)
            found = self._connections.find(
                {**user, "_id": {"$gt": after}, "term": {"$in": list(living.values())}},
                sort=[("_id", ASCENDING)],
                limit=limit,
                hint="_id_" if sub is None else USER_INDEX,
            )
            return await self._placed([_record(document) for document in await found.to_list(limit)])

    async def counts(self) -> Mapping[str, int]:
        async with self._client.bounded():
            living = await self._terms(LEASE_RUNS)
            by_edge: list[Document] = [
                {"$match": {"term": {"$in": list(living.values())}}},
                {"$group": {"_id": "$edge", "connections": {"$sum": 1}}},
            ]
            counted = self._connections.aggregate(by_edge, hint=TERM_INDEX)
            return {one["_id"]: one["connections"] for one in await counted.to_list(None)}

    async def take_orphans(self, limit: int) -> Sequence[ConnectionRecord]:
        if limit < 1:
            return []
        ends_at = asyncio.get_running_loop().time() + self._client.driver_timeout_s
        async with self._client.bounded():
            await self._edges.delete_many(LEASE_RAN_OUT)
            orphans = await self._orphans(limit)
        # Outside: what is raised there when the time is over would take along what was taken by then.
        return await self._taken(orphans, ends_at)

    async def _orphans(self, limit: int) -> list[Document]:
        """Connections of terms that are over, by id and term."""
        others = {"term": {"$nin": list((await self._terms({})).values())}}
        found = await self._connections.find(others, {"term": 1}, limit=limit, hint=TERM_INDEX).to_list(limit)
        # Some may be of an edge that began between the two queries. A term is there before its
        # connections and never comes back, so one that is missing now is over.
        begun = set((await self._terms({"term": {"$in": [one["term"] for one in found]}})).values()) if found else set()
        return [one for one in found if one["term"] not in begun]

    async def _taken(self, orphans: Sequence[Document], ends_at: float) -> list[ConnectionRecord]:
        """Those of the orphans that nobody else took, as many as the time allows.

        Args:
            ends_at: by the loop's clock. What has no answer by then is in doubt, and all else is handed out.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + SHARE_OF_TAKING * (ends_at - clock())
        taken: list[ConnectionRecord] = []
        for first in range(0, len(orphans), TAKEN_AT_ONCE):
            if clock() > until:
                break
            found, failure = await self._taken_by(orphans[first : first + TAKEN_AT_ONCE], ends_at)
            taken += found
            if failure is not None:
                if not taken:
                    self._client.prepare_again()
                    with translated():
                        raise failure
                break
        return taken

    async def _taken_by(
        self, orphans: Sequence[Document], ends_at: float
    ) -> tuple[list[ConnectionRecord], BaseException | None]:
        """(those that were there, why it is not known of all of them)."""
        # By id and term: it may have been opened anew since.
        takes = [asyncio.ensure_future(self._connections.find_one_and_delete(orphan)) for orphan in orphans]
        done, late = await asyncio.wait(takes, timeout=ends_at - asyncio.get_running_loop().time())
        for take in late:
            take.cancel()
        failures = [failure for take in done if (failure := take.exception())]
        outcomes = [take.result() for take in takes if take in done and not take.exception()]
        if late:
            failures.append(TimeoutError())
        return [_record(outcome) for outcome in outcomes if outcome is not None], next(iter(failures), None)

    async def _placed(self, records: Sequence[ConnectionRecord]) -> list[ConnectionRecord]:
        """The same with what their edges told of their positions."""
        wanted = {"_id": {"$in": list({record.edge for record in records})}, "places": {"$exists": True}}
        told = await self._edges.find(wanted, {"places": 1}).to_list(None) if records else []
        places = {one["_id"]: Places(one["places"]["position"], dict(one["places"]["behind"])) for one in told}
        return [
            replace(record, position=places[record.edge].of(record.id)) if record.edge in places else record
            for record in records
        ]

    async def _terms(self, wanted: Document) -> dict[str, str]:
        """The terms of these edges, by edge."""
        found = self._edges.find(wanted, {"term": 1})
        return {one["_id"]: one["term"] for one in await found.to_list(None)}


def _document(record: ConnectionRecord, term: str) -> Document:
    return {
        "_id": record.id,
        "term": term,
        "edge": record.edge,
        "sub": record.sub,
        "sid": record.sid,
        "opened_at": record.opened_at,
        "address": record.address,
    }


def _record(document: Mapping[str, Any]) -> ConnectionRecord:
    """The inverse of `_document`."""
    return ConnectionRecord(
        id=document["_id"],
        edge=document["edge"],
        sub=document["sub"],
        sid=document["sid"],
        opened_at=document["opened_at"],
        address=document["address"],
    )
