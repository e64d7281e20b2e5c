"""Files that are removed at the end, to certify the embedded adapters with."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.embedded.broker import SqliteBroker, open_broker
from shared.embedded.event_log import SqliteEventLog, open_event_log
from shared.embedded.journeys import SqliteJourneyStore, open_journey_store
from shared.embedded.producers import SqliteProducerStore, open_producer_store
from shared.embedded.read_models import SqliteReadModels, open_read_models
from shared.embedded.sessions import SqliteSessionStore, open_session_store


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log, whoever opens it."""

    path: Path

    def client(self) -> AbstractAsyncContextManager[SqliteEventLog]:
        """Opens it as another process would."""
        return open_event_log(self.path)


@dataclass(frozen=True, slots=True)
class BrokerFile:
    """One broker, whoever opens it."""

    path: Path

    def client(self) -> AbstractAsyncContextManager[SqliteBroker]:
        """Opens it as the next process would."""
        return open_broker(self.path)


@dataclass(frozen=True, slots=True)
class SessionsFile:
    """One session store, whoever opens it."""

    path: Path

    def client(self) -> AbstractAsyncContextManager[SqliteSessionStore]:
        """Opens it as another process would."""
        return open_session_store(self.path)


@dataclass(frozen=True, slots=True)
class ReadModelsFile:
    """Read models of one file, whoever opens it."""

    path: Path

    def client(self) -> AbstractAsyncContextManager[SqliteReadModels]:
        """Opens it as another process would."""
        return open_read_models(self.path)


@dataclass(frozen=True, slots=True)
class JourneysFile:
    """One journey store, whoever opens it."""

    path: Path

    def client(self) -> AbstractAsyncContextManager[SqliteJourneyStore]:
        """Opens it as another process would."""
        return open_journey_store(self.path)


@dataclass(frozen=True, slots=True)
class ProducersFile:
    """One store of producers' keys, whoever opens it."""

    path: Path

    def client(self) -> AbstractAsyncContextManager[SqliteProducerStore]:
        """Opens it as another process would."""
        return open_producer_store(self.path)


@asynccontextmanager
async def throwaway_log(data_dir: Path | None) -> AsyncIterator[LogFile]:
    """A fresh log on the disk of `data_dir`, where one is given."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
        yield LogFile(Path(folder) / "log.db")


@asynccontextmanager
async def throwaway_broker(data_dir: Path | None) -> AsyncIterator[BrokerFile]:
    """A fresh broker on the disk of `data_dir`, where one is given."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
        yield BrokerFile(Path(folder) / "broker.db")


@asynccontextmanager
async def throwaway_sessions(data_dir: Path | None) -> AsyncIterator[SessionsFile]:
    """A fresh session store on the disk of `data_dir`, where one is given."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
        yield SessionsFile(Path(folder) / "sessions.db")


@asynccontextmanager
async def throwaway_read_models(data_dir: Path | None) -> AsyncIterator[ReadModelsFile]:
    """Fresh read models on the disk of `data_dir`, where one is given."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
        yield ReadModelsFile(Path(folder) / "models.db")


@asynccontextmanager
async def throwaway_journeys(data_dir: Path | None) -> AsyncIterator[JourneysFile]:
    """A fresh journey store on the disk of `data_dir`, where one is given."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
        yield JourneysFile(Path(folder) / "journeys.db")


@asynccontextmanager
async def throwaway_producers(data_dir: Path | None) -> AsyncIterator[ProducersFile]:
    """A fresh store of producers' keys on the disk of `data_dir`, where one is given."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=data_dir) as folder:
        yield ProducersFile(Path(folder) / "producers.db")
