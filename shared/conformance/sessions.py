"""Every promise of `shared.ports.sessions.SessionStore` as a check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from shared.conformance import SessionStoreMaker
from shared.conformance.samples import NOON
from shared.conformance.waiting import eventually_some, steadily, within_deadline
from shared.model.errors import CarillonError
from shared.ports.sessions import ConnectionRecord, Places, SessionStore

SessionStoreCheck = Callable[[SessionStoreMaker], Awaitable[None]]

# Outlasts any check.
LONG_S = 300.0
# Is waited for; no check depends on its still running.
SHORT_S = 0.3
# Callers that race for one thing, half of them from another client.
RACERS = 20
# Edges that die, come back or begin while others look for orphans.
EDGES = 8
# More than the store hands out at once.
MANY = 30
# No check lists more than one page, except the one of the pages.
ALL = 1000


async def a_new_store_is_empty(make: SessionStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        assert list(await store.connections()) == [], "nobody is connected"
        assert dict(await store.counts()) == {}, "no edge has connections"
        assert list(await store.take_orphans(10)) == [], "nothing is left behind"
        assert await store.take_ticket("unknown") is None, "an unknown ticket stands for nothing"


async def a_ticket_is_taken_once(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await one.keep_ticket("a", "alice", LONG_S)
        await two.keep_ticket("b", "bob", LONG_S)
        assert await two.take_ticket("a") == "alice", "any edge may take what another kept"
        for store in (one, two):
            assert await store.take_ticket("a") is None, "a used ticket stands for nothing"
        assert await one.take_ticket("b") == "bob", "taking one leaves the others"


async def one_of_many_racing_callers_takes_a_ticket(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        for turn in range(5):
            await one.keep_ticket(f"ticket-{turn}", "alice", LONG_S)
            takes = [store.take_ticket(f"ticket-{turn}") for _ in range(RACERS // 2) for store in (one, two)]
            taken = await within_deadline(asyncio.gather(*takes), "every caller is answered")
            assert sorted(filter(None, taken)) == ["alice"], f"one of {RACERS} callers has it: {taken}"


async def an_expired_ticket_is_not_given(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await one.keep_ticket("late", "alice", SHORT_S)
        await one.keep_ticket("in time", "bob", LONG_S)
        # A lease that begins later and lasts as long tells that the ticket's time is over.
        await _left_behind(one, [_record("c-1", edge="clock")])
        assert await one.take_ticket("late") is None, "after its time a ticket stands for nothing"
        assert await two.take_ticket("late") is None
        assert await two.take_ticket("in time") == "bob"


async def contents_of_tickets_come_back_equal(make: SessionStoreMaker) -> None:
    awkward = '{"sub": "日本語 🎉", "tags": ["user:ünï|c$ø.d"]}'
    contents = ["", "$content", "$$NOW", awkward, "x" * 100_000, "a'b\"c\n\\d"]
    async with _two(make) as (one, two):
        for number, content in enumerate(contents):
            await one.keep_ticket(f"$digest.{number}/ä", content, LONG_S)
        for number, content in enumerate(contents):
            assert await two.take_ticket(f"$digest.{number}/ä") == content, "what a ticket stands for is kept unchanged"


async def records_come_back_equal(make: SessionStoreMaker) -> None:
    sent = [
        _record("c-1"),
        _record("c-2", sub="Zoë|日本語 🎉", sid="$sid.a'b\"c\\", address="2001:db8::1%eth0"),
        _record("c-3", edge="$edge.ü-17-abc", sub="", sid="", address=""),
        replace(_record("c-4"), opened_at=datetime(1999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        _record("c-5", sub="s" * 500, sid="x" * 500, address="a" * 500),
    ]
    async with _two(make) as (one, two):
        await _alive(one, {record.edge for record in sent})
        await one.opened(sent)
        found = list(await two.connections())
        assert found == sent, f"a record says the same to everyone: {found} is not {sent}"
        assert all(record.opened_at.utcoffset() == NOON.utcoffset() for record in found), "times are UTC"
        assert list(await two.connections(sub="Zoë|日本語 🎉")) == [sent[1]]


async def how_far_streams_are_is_told_with_the_lease(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await _alive(one, ["edge-1", "edge-2"])
        await one.opened([_record("c.1"), _record("$c"), _record("c-3", edge="edge-2")])

        async def positions() -> dict[str, int | None]:
            return {record.id: record.position for record in await two.connections()}

        assert await positions() == {"c.1": None, "$c": None, "c-3": None}, "nothing was told yet"
        await one.renew("edge-1", LONG_S, Places(2**53, {"$c": 0, "gone": 7}))
        assert await positions() == {"c.1": 2**53, "$c": 0, "c-3": None}
        await one.renew("edge-1", LONG_S)
        assert await positions() == {"c.1": 2**53, "$c": 0, "c-3": None}, "telling nothing takes nothing back"
        await one.renew("edge-1", LONG_S, Places(2**53 + 1))
        assert await positions() == {"c.1": 2**53 + 1, "$c": 2**53 + 1, "c-3": None}, "the last word counts"


async def the_list_outlives_its_clients(make: SessionStoreMaker) -> None:
    async with make() as storage:
        async with storage.client() as store:
            await _alive(store, ["edge-1"])
            await store.opened([_record("c-1")])
            await store.keep_ticket("a", "alice", LONG_S)
        async with storage.client() as reopened:
            assert list(await reopened.connections()) == [_record("c-1")], "only the lease ends what is listed"
            assert await reopened.take_ticket("a") == "alice"


async def connections_are_listed_of_one_user_or_all(make: SessionStoreMaker) -> None:
    of_alice = [_record(f"c-{number}", sub="alice", edge=f"edge-{number % 2}") for number in (1, 3, 5)]
    of_bob = [_record(f"c-{number}", sub="bob") for number in (2, 4)]
    async with _two(make) as (one, two):
        await _alive(one, ["edge-0", "edge-1"])
        await one.opened([*of_bob, *of_alice])
        assert list(await two.connections(sub="alice")) == of_alice, "hers on every edge, and no others"
        assert list(await two.connections(sub="alice", after="c-1", limit=1)) == of_alice[1:2]
        for nobody in ("", "ALICE", "alic", "alice2"):
            assert list(await two.connections(sub=nobody)) == [], f"{nobody!r} is not connected"
        assert list(await two.connections()) == _in_order([*of_alice, *of_bob])


async def connections_are_paged_in_the_order_of_their_ids(make: SessionStoreMaker) -> None:
    ids = [*(f"c-{number:02}" for number in range(MANY)), "C-1", "a", "zz", "z", "ä", "🎉"]
    records = [_record(id_, edge=f"edge-{at % 3}", sub=f"user-{at % 2}") for at, id_ in enumerate(ids)]
    async with make() as storage, storage.client() as store:
        await _alive(store, ["edge-0", "edge-1", "edge-2"])
        await store.opened(records[::-1])
        for sub in (None, "user-1"):
            expected = _in_order(record for record in records if sub in (None, record.sub))
            for limit in (1, 7, ALL):
                assert await _paged(store, sub, limit) == expected, f"pages of {limit} for {sub or 'all'}"
        assert len(await store.connections(limit=0)) == 0, "nothing was asked for"


async def closed_connections_are_gone(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await _alive(one, ["edge-1"])
        await one.opened(_records(6))
        await two.closed(["c-01", "c-04", "unknown"])
        assert await _ids(one) == ["c-00", "c-02", "c-03", "c-05"], "those that were closed, and no others"
        await one.closed([record.id for record in _records(6)])
        assert await _ids(two) == []
        assert dict(await two.counts()) == {}, "an edge without connections is left out"


async def counts_are_by_edge(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await _alive(one, ["edge-1", "edge-2", "idle"])
        await one.opened(_records(5, "edge-1"))
        await two.opened(_records(3, "edge-2"))
        for store in (one, two):
            assert dict(await store.counts()) == {"edge-1": 5, "edge-2": 3}
        await one.closed(["edge-1-01", "edge-2-01"])
        assert dict(await two.counts()) == {"edge-1": 4, "edge-2": 2}


async def repeats_change_nothing(make: SessionStoreMaker) -> None:
    records = _records(5)
    async with _two(make) as (one, two):
        renewals = [store.renew("edge-1", LONG_S) for _ in range(RACERS // 2) for store in (one, two)]
        await within_deadline(asyncio.gather(*renewals), "renewing at once is safe")
        listings = [store.opened(records) for _ in range(RACERS // 2) for store in (one, two)]
        await within_deadline(asyncio.gather(*listings), "listing at once is safe")
        assert list(await one.connections()) == records, "a repeated record is listed once"
        for _ in range(2):
            await one.closed(["c-01", "c-01", "unknown"])
            await one.opened([])
            await one.closed([])
        assert await _ids(two) == ["c-00", "c-02", "c-03", "c-04"]
        assert list(await two.take_orphans(ALL)) == [], "no repeat makes an orphan"


async def cancelled_calls_may_be_repeated(make: SessionStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        for turn, record in enumerate(_records(15)):
            await _cancelled_after(turn, store.renew("edge-1", LONG_S))
            await store.renew("edge-1", LONG_S)
            await _cancelled_after(turn, store.opened([record]))
            await store.opened([record])
        assert list(await store.connections()) == _records(15)
        for turn, record in enumerate(_records(14)):
            await _cancelled_after(turn, store.closed([record.id]))
            await store.closed([record.id])
        assert await _ids(store) == ["c-14"]


async def an_expired_lease_hides_its_connections(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await _alive(one, ["alive"])
        await one.opened(_records(3, "alive"))
        await _left_behind(two, _records(4, "dead"))
        for store in (one, two):
            assert list(await store.connections()) == _records(3, "alive"), "those of the living edge stay"
            assert list(await store.connections(sub="alice")) == _records(3, "alive")
            assert dict(await store.counts()) == {"alive": 3}


async def an_edge_that_renews_in_time_keeps_its_connections(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await one.renew("edge-1", SHORT_S)
        await one.renew("edge-1", LONG_S)
        await one.opened(_records(3))

        async def all_there() -> bool:
            return not await two.take_orphans(ALL) and list(await two.connections()) == _records(3)

        await steadily(all_there, 2 * SHORT_S, "a renewed lease outlasts its first term, and leaves no orphans")
        assert dict(await two.counts()) == {"edge-1": 3}


async def orphans_are_handed_out_whole_and_once(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await _alive(one, ["alive"])
        await one.opened(_records(3, "alive"))
        await _left_behind(one, _records(MANY, "dead"))
        taken: list[ConnectionRecord] = []
        while len(taken) < MANY:
            some = await within_deadline(two.take_orphans(7), "orphans are handed out")
            assert 1 <= len(some) <= 7, f"{len(some)} where up to 7 were asked for and more were there"
            taken += some
        assert _in_order(taken) == _records(MANY, "dead"), "each of them, whole, once"
        assert list(await one.take_orphans(ALL)) == [], "none is handed out again"
        assert list(await two.connections()) == _records(3, "alive"), "the living edge lost none"


async def each_orphan_goes_to_one_of_racing_callers(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        await _left_behind(one, _records(MANY, "dead"))
        taken: list[ConnectionRecord] = []
        racers = [_take_until(store, taken, MANY) for store in (one, two) for _ in range(3)]
        await within_deadline(asyncio.gather(*racers), "every orphan is handed to somebody")
        assert _in_order(taken) == _records(MANY, "dead"), "each of them once, whoever asked"
        assert [*await one.take_orphans(ALL), *await two.take_orphans(ALL)] == []


async def renewing_brings_nothing_back_that_was_taken(make: SessionStoreMaker) -> None:
    records = _records(3)
    async with _two(make) as (one, two):
        await _left_behind(one, records)
        taken: list[ConnectionRecord] = []
        await within_deadline(_take_until(two, taken, len(records)), "orphans are handed out")
        await one.renew("edge-1", LONG_S)
        assert list(await two.connections()) == [], "what was taken is gone"
        await one.opened(records[:2])
        assert list(await two.connections()) == records[:2], "a late edge lists its connections anew"
        assert list(await two.take_orphans(ALL)) == [], "and then they are its own"


async def a_renewal_tells_whether_the_list_went_on(make: SessionStoreMaker) -> None:
    async with _two(make) as (one, two):
        first = await one.renew("edge", LONG_S)
        assert await one.renew("edge", SHORT_S) == first, "in time, the term goes on"
        records = _records(2, "edge")
        await one.opened(records)
        taken: list[ConnectionRecord] = []
        await within_deadline(_take_until(two, taken, len(records)), "orphans are handed out")
        assert await one.renew("edge", LONG_S) != first, "too late, it says that what was listed is gone"


async def a_late_edge_keeps_what_it_lists_anew(make: SessionStoreMaker) -> None:
    """Whoever found it dead may still be taking its connections while it comes back."""
    records = [record for number in range(EDGES) for record in _records(3, f"late-{number}")]
    async with _two(make) as (one, two):
        await _left_behind(one, records)
        await _while_orphans_are_taken(two, [_return(one, _of(records, f"late-{n}")) for n in range(EDGES)])
        assert list(await two.connections(limit=ALL)) == _in_order(records), "all that was listed after the renewal"


async def a_new_edge_has_no_orphans(make: SessionStoreMaker) -> None:
    """Its lease and its connections may appear in the middle of somebody's search."""
    records = [record for number in range(EDGES) for record in _records(3, f"new-{number}")]
    async with _two(make) as (one, two):
        taken = await _while_orphans_are_taken(two, [_return(one, _of(records, f"new-{n}")) for n in range(EDGES)])
        assert taken == [], "nobody takes what belongs to a living edge"
        assert list(await two.connections(limit=ALL)) == _in_order(records)


SESSION_STORE_CHECKS: tuple[SessionStoreCheck, ...] = (
    a_new_store_is_empty,
    a_ticket_is_taken_once,
    one_of_many_racing_callers_takes_a_ticket,
    an_expired_ticket_is_not_given,
    contents_of_tickets_come_back_equal,
    records_come_back_equal,
    how_far_streams_are_is_told_with_the_lease,
    the_list_outlives_its_clients,
    connections_are_listed_of_one_user_or_all,
    connections_are_paged_in_the_order_of_their_ids,
    closed_connections_are_gone,
    counts_are_by_edge,
    repeats_change_nothing,
    cancelled_calls_may_be_repeated,
    an_expired_lease_hides_its_connections,
    an_edge_that_renews_in_time_keeps_its_connections,
    orphans_are_handed_out_whole_and_once,
    each_orphan_goes_to_one_of_racing_callers,
    renewing_brings_nothing_back_that_was_taken,
    a_renewal_tells_whether_the_list_went_on,
    a_late_edge_keeps_what_it_lists_anew,
    a_new_edge_has_no_orphans,
)


async def check_session_store(make: SessionStoreMaker) -> None:
    """Runs every check, one after the other. Raises `AssertionError` at the first broken promise."""
    for check in SESSION_STORE_CHECKS:
        await check(make)


@asynccontextmanager
async def _two(make: SessionStoreMaker) -> AsyncIterator[tuple[SessionStore, SessionStore]]:
    """Two clients of one fresh store, as two edges have."""
    async with make() as storage, storage.client() as one, storage.client() as two:
        yield one, two


def _record(
    id: str, *, edge: str = "edge-1", sub: str = "alice", sid: str = "sid-1", address: str = "192.0.2.7"
) -> ConnectionRecord:
    return ConnectionRecord(id, edge, sub, sid, NOON, address)


def _records(count: int, edge: str | None = None) -> list[ConnectionRecord]:
    """Records of alice in the order of their ids, which begin with the name of the edge where one is given."""
    return [_record(f"{edge or 'c'}-{number:02}", edge=edge or "edge-1") for number in range(count)]


def _of(records: Iterable[ConnectionRecord], edge: str) -> list[ConnectionRecord]:
    return [record for record in records if record.edge == edge]


def _in_order(records: Iterable[ConnectionRecord]) -> list[ConnectionRecord]:
    return sorted(records, key=lambda record: record.id)


async def _ids(store: SessionStore) -> list[str]:
    return [record.id for record in await store.connections(limit=ALL)]


async def _alive(store: SessionStore, edges: Collection[str]) -> None:
    for edge in edges:
        await store.renew(edge, LONG_S)


async def _return(store: SessionStore, records: Sequence[ConnectionRecord]) -> None:
    """What an edge does that begins, or that slept too long."""
    await store.renew(records[0].edge, LONG_S)
    await store.opened(records)


async def _left_behind(store: SessionStore, records: Sequence[ConnectionRecord]) -> None:
    """Lists the records and returns when the leases of their edges have run out."""
    edges = {record.edge for record in records}
    for edge in edges:
        await store.renew(edge, SHORT_S)
    await store.opened(records)

    async def none_of_them() -> bool | None:
        return True if edges.isdisjoint(await store.counts()) else None

    await eventually_some(none_of_them, "connections are listed no longer than their edge's lease")


async def _paged(store: SessionStore, sub: str | None, limit: int) -> list[ConnectionRecord]:
    found: list[ConnectionRecord] = []
    while page := await store.connections(sub=sub, after=found[-1].id if found else "", limit=limit):
        assert len(page) <= limit, f"a page of {limit} held {len(page)}"
        found += page
    return found


async def _take_until(store: SessionStore, taken: list[ConnectionRecord], count: int) -> None:
    """Takes orphans until all racers together have so many."""
    while len(taken) < count:
        taken += await store.take_orphans(4)


async def _while_orphans_are_taken(store: SessionStore, calls: Sequence[Awaitable[object]]) -> list[ConnectionRecord]:
    """What was taken before, during and after the calls."""
    taken: list[ConnectionRecord] = []
    done = asyncio.Event()

    async def take() -> None:
        while not done.is_set():
            taken.extend(await store.take_orphans(2))
        taken.extend(await store.take_orphans(ALL))

    taking = [asyncio.create_task(take(), name=f"taker {number}") for number in range(2)]
    await within_deadline(asyncio.gather(*calls), "edges get on while others look for orphans")
    done.set()
    await within_deadline(asyncio.gather(*taking), "looking for orphans ends")
    return taken


async def _cancelled_after(steps: int, calling: Awaitable[object]) -> None:
    """Cancels the call when the event loop has turned `steps` times, unless it is done by then."""
    task = asyncio.ensure_future(calling)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError, CarillonError):
        await task
