"""The journey stores on both sets of adapters, and what only one of them can get wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pymongo
import pytest

from infra.local.servers import MongoServer
from shared.conformance import JourneyStoreMaker
from shared.conformance.journeys import JOURNEY_STORE_CHECKS, JourneyStoreCheck, a_step
from shared.embedded import journeys
from shared.embedded.throwaway import throwaway_journeys
from shared.model.errors import LogUnavailable
from shared.model.settings import Settings
from shared.mongo import throwaway as mongo
from shared.mongo.documents import Document
from shared.mongo.journeys import open_journey_store
from shared.ports.journeys import JourneyStore
from shared.wiring.journeys_only import open_journeys
from tests.contract.bounded import TIMEOUT_S, bounded
from tests.eventually import answered
from tests.proxy import proxy_before


class InMemory:
    """A database in memory, whose one connection all clients share."""

    def __init__(self, store: JourneyStore) -> None:
        self._store = store

    @asynccontextmanager
    async def client(self) -> AsyncIterator[JourneyStore]:
        yield self._store


@asynccontextmanager
async def in_memory() -> AsyncIterator[InMemory]:
    async with journeys.open_journey_store(None) as store:
        yield InMemory(store)


@pytest.fixture(params=["file", "memory", pytest.param("mongodb", marks=pytest.mark.servers)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> JourneyStoreMaker:
    if request.param == "file":
        return partial(throwaway_journeys, tmp_path)
    if request.param == "memory":
        return in_memory
    server: MongoServer = request.getfixturevalue("mongodb")
    return partial(mongo.throwaway_journeys, Settings.load(mongo_url=server.url, backend_timeout_s=20.0))


@pytest.mark.parametrize("check", JOURNEY_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_promise(check: JourneyStoreCheck, make: JourneyStoreMaker) -> None:
    await check(make)


async def test_sqlite_forgets_for_good_what_is_over_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few thousand at a time, so that no call waits long behind a night's worth of steps."""
    path = tmp_path / "journeys.db"
    monkeypatch.setattr(journeys, "_SWEEP", journeys._SWEEP.replace(str(journeys.SWEPT_AT_ONCE), "30"))

    def count() -> int:
        with closing(sqlite3.connect(path)) as db:
            return int(db.execute("SELECT count(*) FROM steps").fetchone()[0])

    async with journeys.open_journey_store(path) as store:
        await store.keep([a_step(number) for number in range(50)], 0.01)

        async def is_over() -> None:
            assert not await store.of_trace(a_step(0).trace, limit=1)

        await answered(is_over, AssertionError)
        await store.keep([a_step(100)], 60)
        assert count() == 21
        await store.keep([a_step(101)], 60)
        assert count() == 2


async def test_looking_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="there are no journeys in"):
        async with open_journeys(Settings.load(backends="embedded", data_dir=tmp_path)):
            pass
    assert not (tmp_path / "journeys.db").exists()  # nothing else runs here


@pytest.mark.servers
async def test_mongodb_sweeps_and_finds_by_index(mongodb: MongoServer) -> None:
    settings = Settings.load(mongo_url=mongodb.url, mongo_database=f"t_{uuid4().hex[:12]}")
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(mongodb.url)
    async with open_journey_store(settings) as store:
        for turn in range(20):
            await store.keep([a_step(100 * turn + number, id_=f"order-{number}") for number in range(100)], 60)
        with client:
            database = client[settings.mongo_database]
            steps = database["steps"]
            sweeps = [index for index in steps.list_indexes() if "expireAfterSeconds" in index]
            assert [(index["key"], index["expireAfterSeconds"]) for index in sweeps] == [({"kept_until": 1}, 0)]
            # The server cannot sweep by a time that is no date.
            assert steps.count_documents({"kept_until": {"$type": "date"}}) == 2000
            database.command({"profile": 2})
            assert len(await store.of_event("order-7", a_step(1).source, limit=100)) == 20
            database.command({"profile": 0})
            (seen,) = database["system.profile"].find({"ns": f"{database.name}.steps"})
            assert seen["docsExamined"] == 20
            client.drop_database(database)


@pytest.mark.servers
async def test_a_silent_mongodb_is_an_outage_in_bounded_time(mongodb: MongoServer) -> None:
    async with proxy_before(mongodb.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        name = f"t_{uuid4().hex[:12]}"
        settings = Settings.load(mongo_url=url, mongo_database=name, backend_timeout_s=TIMEOUT_S)
        async with open_journey_store(settings) as store:
            await answered(lambda: store.keep([a_step(1)], 60), LogUnavailable)
            proxy.freeze()
            for call in (store.keep([a_step(2)], 60), store.of_event("order-7", limit=1), store.of_trace("a", limit=1)):
                with bounded(), pytest.raises(LogUnavailable):
                    await call
            proxy.go_on()
            assert await answered(lambda: store.of_event("order-7", limit=1), LogUnavailable) == [a_step(1)]
        with pymongo.MongoClient[Document](mongodb.url) as client:
            client.drop_database(name)
