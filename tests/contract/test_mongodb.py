"""The event log on a real MongoDB: the common promises, and what only this adapter can get wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import pymongo
import pymongo.errors
import pytest
from pymongo.database import Database

from infra.local.servers import MongoServer
from shared.conformance.event_log import EVENT_LOG_CHECKS, LogCheck
from shared.conformance.log_upkeep import LOG_UPKEEP_CHECKS
from shared.model.errors import AppendConflict, AppendRejected, FenceLost, LogGap, LogUnavailable
from shared.model.settings import Settings
from shared.mongo.documents import Document
from shared.mongo.event_log import MAX_MERGED_TAGS, MongoEventLog, open_event_log
from shared.ports.event_log import Fence
from tests.contract.bounded import TIMEOUT_S, bounded
from tests.contract.entries import entries, entry
from tests.eventually import answered
from tests.proxy import Proxy, proxy_before

pytestmark = pytest.mark.servers

# So long that only what is really away is told to be.
PATIENT_S = 20.0
# What one read of a crowd may wait for once it is its turn; a whole crowd takes longer.
CROWDED_S = 2.5
# Until the server itself ends a transaction that nobody goes on with (transactionLifetimeLimitSeconds).
LOCKED_FOR_S = 60.0


class MongoStorage:
    """One database, whoever opens it."""

    def __init__(self, url: str, database: str) -> None:
        self._settings = Settings.load(mongo_url=url, mongo_database=database, backend_timeout_s=PATIENT_S)

    def client(self) -> AbstractAsyncContextManager[MongoEventLog]:
        return open_event_log(self._settings)


def maker(server: MongoServer) -> Callable[[], AbstractAsyncContextManager[MongoStorage]]:
    @asynccontextmanager
    async def make() -> AsyncIterator[MongoStorage]:
        name = f"t_{uuid4().hex[:12]}"
        try:
            yield MongoStorage(server.url, name)
        finally:
            client: pymongo.MongoClient[Document] = pymongo.MongoClient(server.url)
            with client:
                client.drop_database(name)

    return make


@pytest.fixture
def database(mongodb: MongoServer) -> Iterator[Database[Document]]:
    """A fresh database, as an operator sees it."""
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(mongodb.url)
    with client:
        database = client[f"t_{uuid4().hex[:12]}"]
        yield database
        client.drop_database(database)


def log_on(url: str, database: Database[Document], timeout_s: float) -> AbstractAsyncContextManager[MongoEventLog]:
    return open_event_log(Settings.load(mongo_url=url, mongo_database=database.name, backend_timeout_s=timeout_s))


@pytest.fixture
async def log(mongodb: MongoServer, database: Database[Document]) -> AsyncIterator[MongoEventLog]:
    async with log_on(mongodb.url, database, PATIENT_S) as log:
        yield log


@pytest.fixture
async def hasty_log(mongodb: MongoServer, database: Database[Document]) -> AsyncIterator[MongoEventLog]:
    """The same for a client that soon gives up, connected: for what must be waited for until then."""
    async with log_on(mongodb.url, database, TIMEOUT_S) as log:
        await answered(log.head, LogUnavailable)
        yield log


async def claimed(log: MongoEventLog) -> Fence:
    fence = await log.claim("test", 60, force=True)
    assert fence is not None
    return fence


@pytest.mark.parametrize("check", [*EVENT_LOG_CHECKS, *LOG_UPKEEP_CHECKS], ids=lambda check: check.__name__)
async def test_promise(check: LogCheck, mongodb: MongoServer) -> None:
    await check(maker(mongodb))


async def test_an_entry_comes_back_as_it_went_in(log: MongoEventLog) -> None:
    full = entry(1, subject="job/1", version=1, final=True, tracestate="a=b", audience=("user:a", "everyone"))
    bare = entry(2, traceparent=None, audience=())
    await log.append(await claimed(log), [full, bare])
    assert list((await log.read(0, 10)).entries) == [full, bare]


async def test_what_is_none_is_absent_and_the_event_is_readable(
    log: MongoEventLog, database: Database[Document]
) -> None:
    await log.append(await claimed(log), [entry(1, traceparent=None)])
    document = database["entries"].find_one({"_id": 1})
    assert document is not None
    assert set(document) == {"_id", "source", "id", "type", "audience", "appended_at", "event"}
    assert document["event"].startswith('{"specversion":"1.0"')


async def test_the_lease_runs_on_the_servers_clock(log: MongoEventLog) -> None:
    assert await log.claim("one", 0.3, force=False) == Fence(1, 0)
    assert await log.claim("two", 60, force=False) is None
    assert await answered(lambda: _taken(log, "two"), AssertionError) == Fence(2, 0)
    with pytest.raises(FenceLost):
        await log.renew(Fence(1, 0), 60)


async def _taken(log: MongoEventLog, owner: str) -> Fence:
    fence = await log.claim(owner, 60, force=False)
    assert fence is not None
    return fence


@pytest.mark.parametrize("tags", [1, 3, MAX_MERGED_TAGS], ids="{}-tags".format)
async def test_a_read_by_tags_merges_index_scans(log: MongoEventLog, database: Database[Document], tags: int) -> None:
    """An in-memory sort would read everything that a tag ever saw for each page of it."""
    fence = await claimed(log)
    await log.append(fence, [entry(p, audience=(f"user:{p % 200}", "everyone")) for p in range(1, 1001)])
    database.command({"profile": 2})
    page = await log.read(100, 20, [*(f"user:{n}" for n in range(1, tags)), "everyone"])
    database.command({"profile": 0})
    assert [entry.position for entry in page.entries] == list(range(101, 121))
    query = database["system.profile"].find_one({"op": "query", "ns": f"{database.name}.entries"})
    assert query is not None
    assert "hasSortStage" not in query
    assert "SORT_MERGE" in query["planSummary"] or tags == 1 or "IXSCAN { audience: 1, _id: 1 }" in query["planSummary"]
    assert query["docsExamined"] <= 20
    assert query["keysExamined"] <= 20 + 2 * tags


async def test_more_tags_than_the_server_merges_are_read_in_parts(log: MongoEventLog) -> None:
    await log.append(await claimed(log), [entry(p, audience=(f"user:{p}", f"topic:{p % 7}")) for p in range(1, 401)])
    tags = [f"user:{n}" for n in range(1, 400)] + [f"topic:{n}" for n in range(7)]
    page = await log.read(10, 50, tags)
    assert [entry.position for entry in page.entries] == list(range(11, 61))
    assert page.through == 60


async def test_the_last_versions_come_from_the_index_alone(log: MongoEventLog, database: Database[Document]) -> None:
    streams = [entry(p, subject=f"job/{p % 5}", version=(p - 1) // 5 + 1) for p in range(1, 501)]
    await log.append(await claimed(log), streams)
    database.command({"profile": 2})
    assert await log.versions(["job/0", "job/4", "job/none"]) == {"job/0": 100, "job/4": 100}
    database.command({"profile": 0})
    query = database["system.profile"].find_one({"op": "command", "command.aggregate": "entries"})
    assert query is not None
    assert "DISTINCT_SCAN" in query["planSummary"]
    assert query["docsExamined"] == 0
    assert query["keysExamined"] < 10


async def test_a_missing_position_is_never_read_past(log: MongoEventLog, database: Database[Document]) -> None:
    await log.append(await claimed(log), entries(1, 10))
    database["entries"].delete_one({"_id": 5})
    assert (await log.read(0, 4)).through == 4
    with pytest.raises(LogGap):
        await log.read(0, 5)
    with pytest.raises(LogGap):
        await log.read(4, 100)


async def test_what_retention_trimmed_is_no_gap(log: MongoEventLog, database: Database[Document]) -> None:
    await log.append(await claimed(log), entries(1, 10))
    database["heads"].update_one({}, {"$set": {"floor": 4}})
    database["entries"].delete_many({"_id": {"$lte": 4}})
    page = await log.read(0, 100)
    assert [entry.position for entry in page.entries] == list(range(5, 11))
    assert page.head.floor == 4


@pytest.mark.parametrize(
    "poison",
    [{"event": b"x" * 17_000_000}, {"event": b"\xff"}, {"subject": "s", "version": 2**70}],
    ids=["too-large", "not-utf-8", "no-integer-of-bson"],
)
async def test_poison_is_told_from_an_outage(log: MongoEventLog, poison: dict[str, Any]) -> None:
    fence = await claimed(log)
    with pytest.raises(AppendRejected):
        await log.append(fence, [entry(1), entry(2, **poison)])
    assert (await log.head()).last == 0
    await log.append(fence, [entry(1)])


@pytest.fixture
async def log_behind(mongodb: MongoServer, database: Database[Document]) -> AsyncIterator[tuple[MongoEventLog, Proxy]]:
    """The log as seen through a network that breaks."""
    async with (
        proxy_before(mongodb.port) as proxy,
        log_on(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true", database, PATIENT_S) as log,
    ):
        yield log, proxy


@pytest.fixture
async def hasty_log_behind(
    mongodb: MongoServer, database: Database[Document]
) -> AsyncIterator[tuple[MongoEventLog, Proxy]]:
    """The same for a client that soon gives up, connected."""
    # After a broken connection the driver looks at the server at most twice a second.
    async with (
        proxy_before(mongodb.port) as proxy,
        log_on(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true", database, 2 * TIMEOUT_S) as log,
    ):
        await answered(log.head, LogUnavailable)
        yield log, proxy


@pytest.mark.parametrize("times", [1, 2])
async def test_an_unknown_commit_is_committed_again(log_behind: tuple[MongoEventLog, Proxy], times: int) -> None:
    """The commit takes effect and its answer is lost with the connection, again and again."""
    log, proxy = log_behind
    fence = await claimed(log)
    proxy.lose_answer_to(b"commitTransaction", times)
    await log.append(fence, entries(1, 3))
    await log.append(fence, entries(4, 3))
    assert (await log.read(0, 10)).entries == entries(1, 6)


async def test_a_commit_that_stays_unknown_is_an_outage(
    log: MongoEventLog, hasty_log_behind: tuple[MongoEventLog, Proxy]
) -> None:
    fence = await claimed(log)
    log, proxy = hasty_log_behind
    proxy.lose_answer_to(b"commitTransaction", 1_000_000)
    with bounded(2 * TIMEOUT_S), pytest.raises(LogUnavailable):
        await log.append(fence, entries(1, 3))
    proxy.lose_answer_to(b"")
    # It has taken effect; a caller finds out by planning again from what the log holds.
    with pytest.raises(AppendConflict):
        await answered(lambda: log.append(fence, entries(1, 3)), LogUnavailable)


async def test_an_append_that_lost_its_connection_does_not_lock_the_log(
    log: MongoEventLog, hasty_log_behind: tuple[MongoEventLog, Proxy]
) -> None:
    """It left a transaction open in the server, which kept the head locked for over a minute."""
    fence = await claimed(log)
    await log.append(fence, entries(1, 3))
    log, proxy = hasty_log_behind
    proxy.lose_answer_to(b"insert", 1_000_000)
    with pytest.raises(LogUnavailable):
        await log.append(fence, entries(4, 3))
    proxy.lose_answer_to(b"")
    await answered(lambda: log.append(fence, entries(4, 3)), LogUnavailable, within_s=LOCKED_FOR_S / 2)
    assert (await log.read(0, 10)).entries == entries(1, 6)


async def test_a_writer_killed_in_an_append_does_not_hold_up_its_successor(
    log: MongoEventLog, hasty_log: MongoEventLog, database: Database[Document]
) -> None:
    """Its transaction stays open in the server, where it would keep the head locked for over a minute."""
    await claimed(log)
    with database.client.start_session() as killed, killed.start_transaction():
        database["heads"].update_one({}, {"$set": {"session": killed.session_id["id"]}})
        database["heads"].update_one({}, {"$set": {"last": 1}}, session=killed)
        async with asyncio.timeout(LOCKED_FOR_S / 2):
            fence = await answered(lambda: claimed(hasty_log), LogUnavailable)
        await log.append(fence, entries(1, 3))
        with contextlib.suppress(pymongo.errors.PyMongoError):
            killed.abort_transaction()


async def test_an_append_that_took_effect_conflicts_when_repeated(log: MongoEventLog) -> None:
    fence = await claimed(log)
    await log.append(fence, entries(1, 3))
    with pytest.raises(AppendConflict):
        await log.append(fence, entries(1, 3))
    assert await log.positions([("/shop", "e-2"), ("/shop", "none")]) == {("/shop", "e-2"): 2}


async def test_a_woken_writer_moves_no_checkpoint_of_its_successor(
    log: MongoEventLog, database: Database[Document]
) -> None:
    """It had looked at the head before it was paused: the epoch in the checkpoint is what stops it."""
    old, new = await claimed(log), await claimed(log)
    await log.move_checkpoint(new, "dispatch", 5)
    database["heads"].update_one({}, {"$set": {"epoch": old.epoch}})
    with pytest.raises(FenceLost):
        await log.move_checkpoint(old, "dispatch", 9)
    assert await log.checkpoint("dispatch") == 5


async def test_a_dropped_database_is_an_outage_and_then_a_new_log(
    log: MongoEventLog, database: Database[Document]
) -> None:
    before = await log.head()
    database.client.drop_database(database)
    with pytest.raises(LogUnavailable):
        await log.head()
    assert (await log.head()).log_id != before.log_id


async def test_a_frozen_server_is_an_outage_in_bounded_time(
    log: MongoEventLog, hasty_log: MongoEventLog, mongodb: MongoServer
) -> None:
    fence = await claimed(log)
    await log.append(fence, entries(1, 3))
    mongodb.pause()
    try:
        with bounded(), pytest.raises(LogUnavailable):
            await hasty_log.append(fence, entries(4, 3))
        with bounded(), pytest.raises(LogUnavailable):
            await hasty_log.read(0, 10)
    finally:
        mongodb.go_on()
    # Whether the append took effect is unknown; the log is whole either way, and goes on.
    with contextlib.suppress(AppendConflict):
        await answered(lambda: hasty_log.append(fence, entries(4, 3)), LogUnavailable)
    assert (await log.read(0, 10)).entries == entries(1, 6)


async def test_a_crowd_of_readers_waits_while_the_server_answers(
    log: MongoEventLog, mongodb: MongoServer, database: Database[Document]
) -> None:
    """Ten thousand users come back at once: the last read begins long after its caller asked."""
    await log.append(await claimed(log), [entry(p, audience=(f"user:{p % 10}",)) for p in range(1, 1001)])
    reads, took_s = 0, 0.0
    async with log_on(mongodb.url, database, CROWDED_S) as crowded:
        clock = asyncio.get_running_loop().time
        while took_s < CROWDED_S:
            # More of them on a fast machine: all together must take longer than one may.
            reads, began = round(1.3 * reads * CROWDED_S / took_s) if reads else 1000, clock()
            pages = await asyncio.gather(*(crowded.read(0, 100, [f"user:{n % 10}"]) for n in range(reads)))
            took_s = clock() - began
            assert all(len(page.entries) == 100 for page in pages)


async def test_a_crowd_of_readers_fails_at_once_when_the_server_is_silent(
    hasty_log: MongoEventLog, mongodb: MongoServer
) -> None:
    mongodb.pause()
    try:
        with bounded(2 * TIMEOUT_S):
            outcomes = await asyncio.gather(*(hasty_log.read(0, 10) for _ in range(500)), return_exceptions=True)
    finally:
        mongodb.go_on()
    assert {type(outcome) for outcome in outcomes} == {LogUnavailable}
    await answered(lambda: hasty_log.read(0, 10), LogUnavailable)


async def test_a_killed_server_keeps_what_was_appended(
    log: MongoEventLog, hasty_log: MongoEventLog, mongodb: MongoServer
) -> None:
    fence = await claimed(log)
    await log.append(fence, entries(1, 3))
    mongodb.kill()
    try:
        with bounded(), pytest.raises(LogUnavailable):
            await hasty_log.append(fence, entries(4, 3))
        with bounded(), pytest.raises(LogUnavailable):
            await hasty_log.head()
    finally:
        await asyncio.to_thread(mongodb.start)
    await answered(lambda: log.append(fence, entries(4, 3)), LogUnavailable)
    assert (await log.read(0, 10)).entries == entries(1, 6)


async def test_a_log_opens_without_its_server() -> None:
    settings = Settings.load(mongo_url="mongodb://127.0.0.1:9/?replicaSet=rs0", backend_timeout_s=0.3)
    async with open_event_log(settings) as log:
        with bounded(), pytest.raises(LogUnavailable):
            await log.head()
