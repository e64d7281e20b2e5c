"""The stores of producers' keys on both sets of adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from infra.local.servers import MongoServer
from shared.conformance import ProducerStoreMaker
from shared.conformance.producers import LATER, PRODUCER_STORE_CHECKS, ProducerStoreCheck, a_key
from shared.embedded import producers
from shared.embedded.throwaway import throwaway_producers
from shared.model.errors import InvalidInput, LogUnavailable
from shared.model.settings import Settings
from shared.mongo import throwaway as mongo
from shared.mongo.producers import open_producer_store
from shared.ports.producers import ProducerStore
from shared.wiring.producers_only import open_producers

CALLS: dict[str, Callable[[ProducerStore], Awaitable[object]]] = {
    "add": lambda store: store.add(a_key("1")),
    "find": lambda store: store.find("digest of 1"),
    "revoke": lambda store: store.revoke("1", LATER),
    "keys": lambda store: store.keys(),
}


class InMemory:
    """A database in memory, whose one connection all clients share."""

    def __init__(self, store: ProducerStore) -> None:
        self._store = store

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ProducerStore]:
        yield self._store


@asynccontextmanager
async def in_memory() -> AsyncIterator[InMemory]:
    async with producers.open_producer_store(None) as store:
        yield InMemory(store)


@pytest.fixture(params=["file", "memory", pytest.param("mongodb", marks=pytest.mark.servers)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> ProducerStoreMaker:
    if request.param == "file":
        return partial(throwaway_producers, tmp_path)
    if request.param == "memory":
        return in_memory
    server: MongoServer = request.getfixturevalue("mongodb")
    return partial(mongo.throwaway_producers, Settings.load(mongo_url=server.url, backend_timeout_s=20.0))


@pytest.mark.parametrize("check", PRODUCER_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_promise(check: ProducerStoreCheck, make: ProducerStoreMaker) -> None:
    await check(make)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_mongodb_away_is_an_outage_in_bounded_time(call: Callable[[ProducerStore], Awaitable[object]]) -> None:
    settings = Settings.load(mongo_url="mongodb://127.0.0.1:9/?replicaSet=rs0", backend_timeout_s=0.2)
    async with open_producer_store(settings) as store:
        with pytest.raises(LogUnavailable):
            await call(store)


async def test_looking_makes_no_folder(tmp_path: Path) -> None:
    settings = Settings.load(backends="embedded", data_dir=tmp_path / "none")
    with pytest.raises(InvalidInput, match="none"):
        async with open_producers(settings):
            pass
    assert not (tmp_path / "none").exists()
    async with open_producers(settings, make=True) as store:
        await store.add(a_key("1"))
    async with open_producers(settings) as store:
        assert await store.find("digest of 1") == a_key("1")
