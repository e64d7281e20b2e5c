"""Files that are removed at the end, to certify the embedded adapters with."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from shared.embedded.broker import open_broker
from shared.embedded.event_log import open_event_log
from shared.embedded.journeys import open_journey_store
from shared.embedded.producers import open_producer_store
from shared.embedded.read_models import open_read_models
from shared.embedded.sessions import open_session_store

Adapter = TypeVar("Adapter")
Opener = Callable[[Path], AbstractAsyncContextManager[Adapter]]


@dataclass(frozen=True, slots=True)
class StorageFile(Generic[Adapter]):
    """What one file keeps, whoever opens it."""

    path: Path
    opener: Opener[Adapter]

    def client(self) -> AbstractAsyncContextManager[Adapter]:
        """Opens it as another process would."""
        return self.opener(self.path)


Throwaway = Callable[[Path | None], AbstractAsyncContextManager[StorageFile[Adapter]]]
"""A fresh file on the disk of a data folder, where one is given; removed when it is left."""


def _throwaway(name: str, opener: Opener[Adapter]) -> Throwaway[Adapter]:
    @asynccontextmanager
    async def fresh(data_dir: Path | None) -> AsyncIterator[StorageFile[Adapter]]:
        with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
            yield StorageFile(Path(folder) / name, opener)

    return fresh


throwaway_log = _throwaway("log.db", open_event_log)
throwaway_broker = _throwaway("broker.db", open_broker)
throwaway_sessions = _throwaway("sessions.db", open_session_store)
throwaway_read_models = _throwaway("models.db", open_read_models)
throwaway_journeys = _throwaway("journeys.db", open_journey_store)
throwaway_producers = _throwaway("producers.db", open_producer_store)
