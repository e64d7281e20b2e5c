"""One client of one database: calls bounded in time, over collections made when they are missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from shared.model.errors import LogUnavailable
from shared.model.settings import Settings
from shared.mongo.documents import Document
from shared.mongo.translation import translated

MAJORITY = WriteConcern("majority", j=True)
# The driver gives up a little before we do, because its error says more than "no answer in time".
DRIVER_SHARE_OF_TIMEOUT = 0.9
# How much of a call's time a living writer gets to finish the transaction that it is in.
SHARE_OF_A_LIVING_WRITER = 0.4

Result = TypeVar("Result")
Prepare = Callable[[AsyncIOMotorDatabase[Document]], Awaitable[None]]


class DatabaseClient:
    """Opening needs no server; the first call does."""

    def __init__(self, settings: Settings, prepare: Prepare) -> None:
        self._timeout_s = settings.backend_timeout_s
        self.driver_timeout_s = self._timeout_s * DRIVER_SHARE_OF_TIMEOUT
        milliseconds = int(self.driver_timeout_s * 1000)
        self.motor: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            settings.mongo_url.get_secret_value(),
            appname="carillon",
            tz_aware=True,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            timeoutMS=milliseconds,
        )
        self.database = self.motor.get_database(
            settings.mongo_database,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=MAJORITY,
        )
        self._prepare = prepare
        self._is_prepared = False
        self._preparing = asyncio.Lock()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Bounds a call in time, with what it waits for before it reaches the server.

        Inside, the driver's errors and expired time are `LogUnavailable`.
        """
        try:
            with translated():
                async with asyncio.timeout(self._timeout_s):
                    await self._prepare_once()
                    yield
        except LogUnavailable:
            # What answers next may be another, empty server.
            self.prepare_again()
            raise

    async def freed(
        self, update: Callable[[], Awaitable[Result]], collection: AsyncIOMotorCollection[Document], locked: Document
    ) -> Result:
        """What the update returns, also where a writer was killed in a transaction that changed its document.

        Such a transaction stays open in the server and keeps the document locked for over a minute
        (transactionLifetimeLimitSeconds), so its session, which the document names, is ended. A writer
        that lives needs milliseconds.
        """
        try:
            with pymongo.timeout(self.driver_timeout_s * SHARE_OF_A_LIVING_WRITER):
                return await update()
        except PyMongoError as error:
            if not error.timeout:
                raise
        if before := await collection.find_one(locked):
            await self.motor.admin.command({"killSessions": [{"id": before["session"]}]})
        return await update()

    def prepare_again(self) -> None:
        """Has the next call make what is missing: somebody may have dropped it."""
        self._is_prepared = False

    async def close(self, thread: Executor | None = None) -> None:
        """Leaves the server, in that thread: in one that the driver is used in, after its last use."""

        def end() -> None:
            with pymongo.timeout(self.driver_timeout_s):
                self.motor.close()

        # The driver asks the server even here: on the loop it would stop everybody for that long.
        with suppress(LogUnavailable), translated():
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().run_in_executor(thread, end)

    async def _prepare_once(self) -> None:
        if self._is_prepared:
            return
        async with self._preparing:
            if not self._is_prepared:
                await self._prepare(self.database)
                self._is_prepared = True


def from_now(seconds: float) -> Document:
    """A time by the server's clock: those of two callers may differ."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}
