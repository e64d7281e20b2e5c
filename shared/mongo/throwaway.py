"""A database that is dropped at the end, to certify a log with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from motor.motor_asyncio import AsyncIOMotorClient

from shared.model.settings import Settings
from shared.mongo.documents import Document
from shared.mongo.event_log import MongoEventLog, open_event_log
from shared.mongo.translation import translated


@dataclass(frozen=True, slots=True)
class MongoDatabase:
    """One database, whoever opens it."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[MongoEventLog]:
        """Opens the log in it."""
        return open_event_log(self.settings)


@asynccontextmanager
async def throwaway_database(settings: Settings) -> AsyncIterator[MongoDatabase]:
    """A fresh database on the configured server, dropped at the end."""
    name = f"{settings.mongo_database[:24]}_certify_{uuid4().hex[:10]}"
    try:
        yield MongoDatabase(settings.model_copy(update={"mongo_database": name}))
    finally:
        timeout_ms = int(settings.backend_timeout_s * 1000)
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            settings.mongo_url.get_secret_value(), serverSelectionTimeoutMS=timeout_ms
        )
        try:
            with translated():
                await client.drop_database(name)
        finally:
            client.close()
