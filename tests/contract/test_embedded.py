"""The embedded adapters keep every promise of the ports, on disk and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from shared.conformance import BrokerMaker, LogMaker, ReadModelsMaker, SessionStoreMaker, Storage
from shared.conformance.broker import BROKER_CHECKS, BrokerCheck
from shared.conformance.event_log import EVENT_LOG_CHECKS, LogCheck
from shared.conformance.folding import FOLDING_CHECKS
from shared.conformance.log_upkeep import LOG_UPKEEP_CHECKS
from shared.conformance.read_models import READ_MODELS_CHECKS, ReadModelsCheck
from shared.conformance.rpc import RPC_CHECKS, RpcCheck
from shared.conformance.sessions import SESSION_STORE_CHECKS, SessionStoreCheck
from shared.embedded import broker, event_log, read_models, sessions
from shared.embedded.database import Database, open_database
from shared.model.errors import BrokerUnavailable, LogUnavailable
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.ports.read_models import ReadModels
from shared.ports.sessions import SessionStore


class LogOnDisk:
    """Each client opens the file anew, as another process would."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def client(self) -> AbstractAsyncContextManager[EventLog]:
        return event_log.open_event_log(self._path)


class LogInMemory:
    """The database in memory is the storage; clients come and go over it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def client(self) -> AsyncIterator[EventLog]:
        yield event_log.SqliteEventLog(self._database)


class BrokerOnDisk:
    def __init__(self, path: Path) -> None:
        self._path = path

    def client(self) -> AbstractAsyncContextManager[Broker]:
        return broker.open_broker(self._path)


class BrokerInMemory:
    def __init__(self, database: Database) -> None:
        self._database = database

    def client(self) -> AbstractAsyncContextManager[Broker]:
        return broker.broker_over(self._database)


class SessionsOnDisk:
    def __init__(self, path: Path) -> None:
        self._path = path

    def client(self) -> AbstractAsyncContextManager[SessionStore]:
        return sessions.open_session_store(self._path)


class SessionsInMemory:
    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SessionStore]:
        yield sessions.SqliteSessionStore(self._database)


class ReadModelsOnDisk:
    def __init__(self, path: Path) -> None:
        self._path = path

    def client(self) -> AbstractAsyncContextManager[ReadModels]:
        return read_models.open_read_models(self._path)


class ReadModelsInMemory:
    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ReadModels]:
        yield read_models.SqliteReadModels(self._database)


@pytest.fixture(params=["disk", "memory"])
def log_maker(request: pytest.FixtureRequest, tmp_path: Path) -> LogMaker:
    made = 0

    @asynccontextmanager
    async def on_disk() -> AsyncIterator[Storage[EventLog]]:
        nonlocal made
        made += 1
        yield LogOnDisk(tmp_path / f"log-{made}.db")

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[Storage[EventLog]]:
        async with open_database(None, event_log.SCHEMA, LogUnavailable) as database:
            await database.write(event_log.name_log)
            yield LogInMemory(database)

    return on_disk if request.param == "disk" else in_memory


@pytest.fixture(params=["disk", "memory"])
def broker_maker(request: pytest.FixtureRequest, tmp_path: Path) -> BrokerMaker:
    @asynccontextmanager
    async def on_disk() -> AsyncIterator[Storage[Broker]]:
        yield BrokerOnDisk(tmp_path / "broker.db")

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[Storage[Broker]]:
        async with open_database(None, broker.SCHEMA, BrokerUnavailable) as database:
            yield BrokerInMemory(database)

    return on_disk if request.param == "disk" else in_memory


@pytest.fixture(params=["disk", "memory"])
def session_store_maker(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStoreMaker:
    @asynccontextmanager
    async def on_disk() -> AsyncIterator[Storage[SessionStore]]:
        yield SessionsOnDisk(tmp_path / "sessions.db")

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[Storage[SessionStore]]:
        async with open_database(None, sessions.SCHEMA, LogUnavailable) as database:
            yield SessionsInMemory(database)

    return on_disk if request.param == "disk" else in_memory


@pytest.fixture(params=["disk", "memory"])
def read_models_maker(request: pytest.FixtureRequest, tmp_path: Path) -> ReadModelsMaker:
    @asynccontextmanager
    async def on_disk() -> AsyncIterator[Storage[ReadModels]]:
        yield ReadModelsOnDisk(tmp_path / "models.db")

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[Storage[ReadModels]]:
        async with open_database(None, read_models.SCHEMA, LogUnavailable) as database:
            yield ReadModelsInMemory(database)

    return on_disk if request.param == "disk" else in_memory


@pytest.mark.parametrize("check", [*EVENT_LOG_CHECKS, *LOG_UPKEEP_CHECKS], ids=lambda check: check.__name__)
async def test_event_log(check: LogCheck, log_maker: LogMaker) -> None:
    await check(log_maker)


@pytest.mark.parametrize("check", BROKER_CHECKS, ids=lambda check: check.__name__)
async def test_broker(check: BrokerCheck, broker_maker: BrokerMaker) -> None:
    await check(broker_maker)


@pytest.mark.parametrize("check", RPC_CHECKS, ids=lambda check: check.__name__)
async def test_rpc(check: RpcCheck, broker_maker: BrokerMaker) -> None:
    await check(broker_maker)


@pytest.mark.parametrize("check", SESSION_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_session_store(check: SessionStoreCheck, session_store_maker: SessionStoreMaker) -> None:
    await check(session_store_maker)


@pytest.mark.parametrize("check", [*READ_MODELS_CHECKS, *FOLDING_CHECKS], ids=lambda check: check.__name__)
async def test_read_models(check: ReadModelsCheck, read_models_maker: ReadModelsMaker) -> None:
    await check(read_models_maker)
