"""Read models in MongoDB.

`generations` holds one document a generation; each table of a generation is a collection of its own,
`model_<number>_<table>`, so that dropping one is cheap. A fold's changes and its new position are one
transaction; a reading is a snapshot session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TypeVar

import pymongo
from pymongo import ASCENDING, MongoClient, ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from shared.model.errors import FoldConflict, LogUnavailable, ModelMissing
from shared.model.read_model import Changes, Index, Model, Reading, drive
from shared.model.settings import Settings
from shared.mongo import model_queries
from shared.mongo.client import DatabaseClient, from_now
from shared.mongo.documents import Document
from shared.mongo.model_queries import collection_of, generation_of
from shared.mongo.schema import GENERATIONS, LONG_AGO, ensure_read_model_schema
from shared.mongo.transactions import TransactionThread
from shared.mongo.translation import translated_fold
from shared.mongo.turns import Turns
from shared.ports.read_models import Failure, Found, Generation, Stage

# Threads that readings run in. On two cores more of them only wait for each other.
READERS = 4
# The document in `generations` that numbers the others.
_COUNTER_ID = 0
_NAMESPACE_EXISTS = 48

Result = TypeVar("Result")


@asynccontextmanager
async def open_read_models(settings: Settings) -> AsyncIterator[MongoReadModels]:
    """The read models in `settings.mongo_database`. Opening needs no server; the first call does."""
    models = MongoReadModels(DatabaseClient(settings, ensure_read_model_schema))
    try:
        yield models
    finally:
        await models.close()


class MongoReadModels:
    """See `shared.ports.read_models.ReadModels` for the promises."""

    def __init__(self, client: DatabaseClient) -> None:
        self._client = client
        self._database = client.database
        self._generations = client.database[GENERATIONS]
        self._transactions = TransactionThread(client, "fold")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reading")
        self._turns = Turns(READERS)
        # Whose documents name our session, so that others can end what we leave open when we are killed.
        self._adopted: set[int] = set()

    async def close(self) -> None:
        """Ends the session, whose open transaction goes with it, and leaves the server."""
        await self._transactions.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def generations(self, name: str | None = None) -> Sequence[Generation]:
        return await self._found({} if name is None else {"name": name})

    async def retired(self, for_s: float) -> Sequence[Generation]:
        return await self._found({"stage": Stage.RETIRED.value, "$expr": {"$lte": ["$retired_at", from_now(-for_s)]}})

    async def _found(self, wanted: Document) -> list[Generation]:
        async with self._client.bounded():
            found = self._generations.find({"_id": {"$gt": _COUNTER_ID}} | wanted, sort=[("_id", ASCENDING)])
            return [generation_of(document) for document in await found.to_list(None)]

    async def begin(self, model: Model, log_id: str, since: int, *, scratch: bool = False) -> Generation:
        stage = Stage.SCRATCH if scratch else Stage.BUILDING
        begun = {"name": model.name, "model": model.described(), "log_id": log_id, "stage": stage.value}
        async with self._client.bounded():
            document = None if scratch else await self._generations.find_one(begun)
            if document is None:
                document = {"_id": await self._next_number(), **begun, "since": since, "position": since}
                try:
                    await self._generations.insert_one(document)
                except DuplicateKeyError:
                    # Somebody began it at the same time.
                    document = await self._generations.find_one(begun)
            if document is None:
                raise LogUnavailable("a read model that was being built has gone")
            generation = generation_of(document)
            for table in model.tables:
                await self._make_table(collection_of(generation, table.name), table.indexes)
        return generation

    async def _next_number(self) -> int:
        counter = await self._generations.find_one_and_update(
            {"_id": _COUNTER_ID}, {"$inc": {"last": 1}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        return int(counter["last"])

    async def _make_table(self, collection: str, indexes: Sequence[Index]) -> None:
        try:
            await self._database.create_collection(collection, check_exists=False)
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
        if indexes:
            await self._database[collection].create_indexes(list(map(model_queries.index_model, indexes)))

    async def commit(self, generation: Generation, changes: Changes, through: int) -> Generation:
        with translated_fold():
            writes = {
                collection_of(generation, table): [model_queries.write_of(key, row) for key, row in rows.items()]
                for table, rows in changes.items()
                if rows
            }
            async with self._client.bounded():
                await self._adopt(generation)
                folded = await self._folded(generation, through, writes)
        if not folded:
            self._adopted.discard(generation.number)
            raise FoldConflict(f"{generation.model.name!r} is not at {generation.position} any more")
        return replace(generation, position=through, failure=None)

    async def _folded(self, generation: Generation, through: int, writes: model_queries.Writes) -> bool:
        if writes:
            return await self._transactions.run(partial(model_queries.fold, generation, through, writes))
        moved = await self._generations.update_one(*model_queries.move(generation, through))
        return bool(moved.matched_count)

    async def _adopt(self, generation: Generation) -> None:
        """Frees the generation from the open transaction of somebody who was killed, once."""
        if generation.number in self._adopted:
            return
        number = {"_id": generation.number}
        mine = {"$set": {"session": await self._transactions.session_id()}}
        locked = number | {"session": {"$exists": True}}
        await self._client.freed(lambda: self._generations.update_one(number, mine), self._generations, locked)
        self._adopted.add(generation.number)

    async def stop(self, generation: Generation, failure: Failure) -> None:
        at = {"_id": generation.number, "position": generation.position}
        async with self._client.bounded():
            told = await self._generations.update_one(at, {"$set": {"failure": asdict(failure)}})
        if not told.matched_count:
            raise FoldConflict(f"{generation.model.name!r} is not at {generation.position} any more")

    async def swap(self, generation: Generation) -> None:
        async with self._client.bounded():
            swapped = await self._transactions.run(partial(model_queries.swap, generation))
        if not swapped:
            raise FoldConflict(f"generation {generation.number} of {generation.model.name!r} is not being built")

    async def drop(self, generation: Generation) -> None:
        async with self._client.bounded():
            # Nobody commits to a retired one: what is dropped here is not made again under way.
            retired = await self._generations.update_one(
                {"_id": generation.number, "stage": {"$ne": Stage.CURRENT.value}},
                {"$set": {"stage": Stage.RETIRED.value, "retired_at": LONG_AGO}},
            )
            if not retired.matched_count and await self._generations.find_one({"_id": generation.number}):
                raise FoldConflict(f"generation {generation.number} of {generation.model.name!r} is the current one")
            for table in generation.model.tables:
                await self._database.drop_collection(collection_of(generation, table.name))
            await self._generations.delete_one({"_id": generation.number})

    async def read(self, name: str, reading: Reading[Result]) -> Found[Result]:
        found = await self._read({"name": name, "stage": Stage.CURRENT.value}, reading)
        if found is None:
            raise ModelMissing(f"{name!r} is being built")
        return found

    async def read_in(self, generation: Generation, reading: Reading[Result]) -> Found[Result]:
        found = await self._read({"_id": generation.number}, reading)
        if found is None:
            raise FoldConflict(f"generation {generation.number} of {generation.model.name!r} was dropped")
        return found

    async def _read(self, wanted: Document, reading: Reading[Result]) -> Found[Result] | None:
        async with self._turns.one(), self._client.bounded():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, partial(self._driven, wanted, reading))

    def _driven(self, wanted: Document, reading: Reading[Result]) -> Found[Result] | None:
        """Runs a whole reading in this thread: its queries see what was committed when the first one began."""
        client: MongoClient[Document] = self._client.motor.delegate
        database = self._database.delegate
        with pymongo.timeout(self._client.driver_timeout_s), client.start_session(snapshot=True) as session:
            document = database[GENERATIONS].find_one(wanted, session=session)
            if document is None:
                return None
            generation = generation_of(document)
            return Found(drive(reading, partial(model_queries.answer, database, session, generation)), generation)
