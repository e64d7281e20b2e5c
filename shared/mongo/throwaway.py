"""A database that is dropped at the end, to certify a log or a session store with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from motor.motor_asyncio import AsyncIOMotorClient

from shared.model.settings import Settings
from shared.mongo.documents import Document
from shared.mongo.event_log import MongoEventLog, open_event_log
from shared.mongo.journeys import MongoJourneyStore, open_journey_store
from shared.mongo.producers import MongoProducerStore, open_producer_store
from shared.mongo.read_models import MongoReadModels, open_read_models
from shared.mongo.sessions import MongoSessionStore, open_session_store
from shared.mongo.translation import translated


@dataclass(frozen=True, slots=True)
class MongoDatabase:
    """One database, whoever opens it."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[MongoEventLog]:
        """Opens the log in it."""
        return open_event_log(self.settings)


@dataclass(frozen=True, slots=True)
class MongoSessions:
    """The session store of one database, whoever opens it."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[MongoSessionStore]:
        """Opens the store in it."""
        return open_session_store(self.settings)


@dataclass(frozen=True, slots=True)
class MongoModels:
    """The read models of one database, whoever opens it."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[MongoReadModels]:
        """Opens them."""
        return open_read_models(self.settings)


@dataclass(frozen=True, slots=True)
class MongoJourneys:
    """The journey store of one database, whoever opens it."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[MongoJourneyStore]:
        """Opens the store in it."""
        return open_journey_store(self.settings)


@dataclass(frozen=True, slots=True)
class MongoProducers:
    """The producers' keys of one database, whoever opens it."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[MongoProducerStore]:
        """Opens the store in it."""
        return open_producer_store(self.settings)


@asynccontextmanager
async def throwaway_database(settings: Settings) -> AsyncIterator[MongoDatabase]:
    """A fresh database on the configured server, dropped at the end."""
    async with _throwaway(settings) as fresh:
        yield MongoDatabase(fresh)


@asynccontextmanager
async def throwaway_sessions(settings: Settings) -> AsyncIterator[MongoSessions]:
    """The same, for a session store."""
    async with _throwaway(settings) as fresh:
        yield MongoSessions(fresh)


@asynccontextmanager
async def throwaway_read_models(settings: Settings) -> AsyncIterator[MongoModels]:
    """The same, for read models."""
    async with _throwaway(settings) as fresh:
        yield MongoModels(fresh)


@asynccontextmanager
async def throwaway_journeys(settings: Settings) -> AsyncIterator[MongoJourneys]:
    """The same, for a journey store."""
    async with _throwaway(settings) as fresh:
        yield MongoJourneys(fresh)


@asynccontextmanager
async def throwaway_producers(settings: Settings) -> AsyncIterator[MongoProducers]:
    """The same, for producers' keys."""
    async with _throwaway(settings) as fresh:
        yield MongoProducers(fresh)


@asynccontextmanager
async def _throwaway(settings: Settings) -> AsyncIterator[Settings]:
    """Settings that name a fresh database, dropped at the end."""
    name = f"{settings.mongo_database[:24]}_certify_{uuid4().hex[:10]}"
    try:
        yield settings.model_copy(update={"mongo_database": name})
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
