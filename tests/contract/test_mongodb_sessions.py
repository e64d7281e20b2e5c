"""The session store on a real MongoDB: the common promises, and what only this adapter can get wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from uuid import uuid4

import pymongo
import pytest
from pymongo.database import Database

from infra.local.servers import MongoServer
from shared.conformance.samples import NOON
from shared.conformance.sessions import SESSION_STORE_CHECKS, SessionStoreCheck
from shared.model.errors import LogUnavailable
from shared.model.settings import Settings
from shared.mongo.documents import Document
from shared.mongo.sessions import TAKEN_AT_ONCE, MongoSessionStore, open_session_store
from shared.mongo.throwaway import throwaway_sessions
from shared.ports.sessions import ConnectionRecord
from tests.contract.bounded import TIMEOUT_S, bounded
from tests.eventually import answered
from tests.proxy import Proxy, proxy_before

pytestmark = pytest.mark.servers

# So long that only what is really away is told to be.
PATIENT_S = 20.0

CALLS: dict[str, Callable[[MongoSessionStore], Awaitable[object]]] = {
    "keep_ticket": lambda store: store.keep_ticket("a", "alice", 60),
    "take_ticket": lambda store: store.take_ticket("a"),
    "renew": lambda store: store.renew("edge-1", 60),
    "opened": lambda store: store.opened([record("c-1")]),
    "closed": lambda store: store.closed(["c-1"]),
    "connections": lambda store: store.connections(sub="alice"),
    "counts": lambda store: store.counts(),
    "take_orphans": lambda store: store.take_orphans(10),
}


def record(id: str, edge: str = "edge-1") -> ConnectionRecord:
    return ConnectionRecord(id, edge, "alice", "sid-1", NOON, "192.0.2.7")


@pytest.fixture
def database(mongodb: MongoServer) -> Iterator[Database[Document]]:
    """A fresh database, as an operator sees it."""
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(mongodb.url)
    with client:
        database = client[f"t_{uuid4().hex[:12]}"]
        yield database
        client.drop_database(database)


@pytest.fixture
async def store(mongodb: MongoServer, database: Database[Document]) -> AsyncIterator[MongoSessionStore]:
    settings = Settings.load(mongo_url=mongodb.url, mongo_database=database.name, backend_timeout_s=PATIENT_S)
    async with open_session_store(settings) as store:
        yield store


@pytest.fixture
async def behind(mongodb: MongoServer, database: Database[Document]) -> AsyncIterator[tuple[MongoSessionStore, Proxy]]:
    """The store as seen through a network that breaks, by a client that soon gives up."""
    async with proxy_before(mongodb.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        settings = Settings.load(mongo_url=url, mongo_database=database.name, backend_timeout_s=TIMEOUT_S)
        async with open_session_store(settings) as store:
            yield store, proxy


@pytest.mark.parametrize("check", SESSION_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_promise(check: SessionStoreCheck, mongodb: MongoServer) -> None:
    await check(partial(throwaway_sessions, Settings.load(mongo_url=mongodb.url, backend_timeout_s=PATIENT_S)))


async def test_the_server_sweeps_tickets_that_nobody_took(
    store: MongoSessionStore, database: Database[Document]
) -> None:
    await store.keep_ticket("a", "alice", 60)
    sweeps = [index for index in database["tickets"].list_indexes() if "expireAfterSeconds" in index]
    assert [(index["key"], index["expireAfterSeconds"]) for index in sweeps] == [({"expires_at": 1}, 0)]
    ticket = database["tickets"].find_one({"_id": "a"})
    assert ticket is not None
    # The server cannot sweep by a time that is no date.
    assert database["tickets"].count_documents({"expires_at": {"$type": "date"}}) == 1


async def test_a_ticket_is_not_kept_by_the_clock_of_an_edge(
    store: MongoSessionStore, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    await store.keep_ticket("a", "alice", 60)
    assert database["tickets"].count_documents({"$expr": {"$gt": ["$expires_at", "$$NOW"]}}) == 1
    assert await store.take_ticket("a") == "alice"


async def test_queries_look_at_nothing_but_what_they_return(
    store: MongoSessionStore, database: Database[Document]
) -> None:
    for edge in ("edge-1", "edge-2"):
        await store.renew(edge, 60)
        await store.opened([record(f"{edge}-{number:04}", edge) for number in range(500)])
    database["connections"].update_many({"edge": "edge-2"}, {"$set": {"sub": "bob"}})
    database.command({"profile": 2})
    assert len(await store.connections(sub="bob", after="edge-2-0100", limit=20)) == 20
    assert len(await store.connections(after="edge-2-0100", limit=20)) == 20
    assert await store.counts() == {"edge-1": 500, "edge-2": 500}
    assert not await store.take_orphans(100)
    database.command({"profile": 0})
    ops = list(database["system.profile"].find({"ns": f"{database.name}.connections"}, sort=[("ts", 1)]))
    by_user, of_all, counts, orphans = ops
    assert (by_user["docsExamined"], of_all["docsExamined"]) == (20, 20)
    assert counts["docsExamined"] == 0, "counted in the index alone"
    assert orphans["keysExamined"] < 10, "those of living edges are jumped over"


async def test_edges_that_are_gone_leave_nothing(store: MongoSessionStore, database: Database[Document]) -> None:
    for number in range(5):
        await store.renew(f"edge-{number}", 0.05)

    async def swept() -> None:
        await store.take_orphans(1)
        assert database["edges"].count_documents({}) == 0

    await answered(swept, AssertionError)


async def test_a_connection_of_an_edge_that_never_renewed_is_an_orphan(store: MongoSessionStore) -> None:
    await store.opened([record("c-1")])
    assert not await store.connections()
    assert await store.take_orphans(10) == [record("c-1")]


async def test_what_a_late_edge_lists_anew_is_not_taken_for_what_it_was(store: MongoSessionStore) -> None:
    """It came back between somebody's search for orphans and their taking."""
    await store.opened([record("c-1"), record("c-2")])
    found = await store._orphans(10)
    await store.renew("edge-1", 60)
    await store.opened([record("c-1")])
    ends_at = asyncio.get_running_loop().time() + PATIENT_S
    assert await store._taken(found, ends_at) == [record("c-2")]
    assert await store.connections() == [record("c-1")]


async def test_an_edge_that_begins_during_a_search_has_no_orphans(
    store: MongoSessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections were there when the search looked, and its lease was not when it had looked before."""
    terms = store._terms

    async def then_begin(wanted: Document) -> dict[str, str]:
        found = await terms(wanted)
        monkeypatch.undo()
        await store.renew("edge-1", 60)
        await store.opened([record("c-1")])
        return found

    monkeypatch.setattr(store, "_terms", then_begin)
    assert await store.take_orphans(10) == []
    assert await store.connections() == [record("c-1")]


async def test_orphans_taken_before_an_outage_are_handed_out(
    store: MongoSessionStore, behind: tuple[MongoSessionStore, Proxy], database: Database[Document]
) -> None:
    """A call that failed as a whole would have taken them for nobody."""
    await store.opened([record(f"c-{number}") for number in range(10 * TAKEN_AT_ONCE)])
    store, proxy = behind
    await answered(store.counts, LogUnavailable)
    taking = asyncio.create_task(store.take_orphans(10 * TAKEN_AT_ONCE))
    watched = database["connections"]

    async def some_taken() -> None:
        nonlocal taking
        if taking.done() and taking.exception():
            # A busy machine had come to nothing when the time was over.
            taking = asyncio.create_task(store.take_orphans(10 * TAKEN_AT_ONCE))
        # The second lot goes only when the first has been answered; before that, all of it may be in doubt.
        assert watched.estimated_document_count() < 9 * TAKEN_AT_ONCE

    await answered(some_taken, AssertionError)
    proxy.freeze()
    with bounded():
        taken = await taking
    proxy.go_on()
    # What was under way when the network froze is in doubt, and nothing else.
    assert len(taken) + watched.count_documents({}) >= 9 * TAKEN_AT_ONCE


async def test_a_crowd_with_tickets_waits_while_the_server_answers(store: MongoSessionStore) -> None:
    await asyncio.gather(*(store.keep_ticket(f"t-{number}", str(number), 60) for number in range(500)))
    taken = await asyncio.gather(*(store.take_ticket(f"t-{number}") for number in range(500)))
    assert taken == [str(number) for number in range(500)]


async def test_what_was_dropped_is_made_again(store: MongoSessionStore, database: Database[Document]) -> None:
    """The server makes collections by itself, but without their indexes: those are asked for by name."""
    await store.renew("edge-1", 60)
    database.client.drop_database(database)
    await store.renew("edge-1", 60)
    await store.opened([record("c-1")])
    await answered(lambda: store.take_orphans(10), LogUnavailable)
    assert await store.connections(sub="alice") == [record("c-1")]
    assert len(list(database["connections"].list_indexes())) == 3
    assert len(list(database["tickets"].list_indexes())) == 2


@pytest.mark.parametrize("call", CALLS)
async def test_a_silent_network_is_an_outage_in_bounded_time(
    behind: tuple[MongoSessionStore, Proxy], call: str
) -> None:
    store, proxy = behind
    await answered(lambda: CALLS[call](store), LogUnavailable)
    proxy.freeze()
    with bounded(), pytest.raises(LogUnavailable):
        await CALLS[call](store)
    proxy.go_on()
    await answered(lambda: CALLS[call](store), LogUnavailable)


async def test_a_store_opens_without_its_server() -> None:
    settings = Settings.load(mongo_url="mongodb://127.0.0.1:9/?replicaSet=rs0", backend_timeout_s=0.3)
    async with open_session_store(settings) as store:
        for call in CALLS.values():
            with bounded(), pytest.raises(LogUnavailable):
                await call(store)
