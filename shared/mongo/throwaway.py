"""Databases that are dropped at the end, to certify what is kept in MongoDB with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import uuid4

from motor.motor_asyncio import AsyncIOMotorClient

from shared.model.settings import Settings
from shared.mongo.documents import Document
from shared.mongo.event_log import open_event_log
from shared.mongo.journeys import open_journey_store
from shared.mongo.producers import open_producer_store
from shared.mongo.read_models import open_read_models
from shared.mongo.sessions import open_session_store
from shared.mongo.translation import translated

Adapter = TypeVar("Adapter")
Opener = Callable[[Settings], AbstractAsyncContextManager[Adapter]]


@dataclass(frozen=True, slots=True)
class StorageDatabase(Generic[Adapter]):
    """What one database keeps, whoever opens it."""

    settings: Settings
    opener: Opener[Adapter]

    def client(self) -> AbstractAsyncContextManager[Adapter]:
        """Opens it as another process would."""
        return self.opener(self.settings)


Throwaway = Callable[[Settings], AbstractAsyncContextManager[StorageDatabase[Adapter]]]
"""A fresh database on the configured server, dropped when it is left."""


def _throwaway(opener: Opener[Adapter]) -> Throwaway[Adapter]:
    @asynccontextmanager
    async def fresh(settings: Settings) -> AsyncIterator[StorageDatabase[Adapter]]:
        name = f"{settings.mongo_database[:24]}_certify_{uuid4().hex[:10]}"
        try:
            yield StorageDatabase(settings.model_copy(update={"mongo_database": name}), opener)
        finally:
            await _drop(settings, name)

    return fresh


async def _drop(settings: Settings, name: str) -> None:
    timeout_ms = int(settings.backend_timeout_s * 1000)
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        settings.mongo_url.get_secret_value(), serverSelectionTimeoutMS=timeout_ms
    )
    try:
        with translated():
            await client.drop_database(name)
    finally:
        client.close()


throwaway_log = _throwaway(open_event_log)
throwaway_sessions = _throwaway(open_session_store)
throwaway_read_models = _throwaway(open_read_models)
throwaway_journeys = _throwaway(open_journey_store)
throwaway_producers = _throwaway(open_producer_store)
