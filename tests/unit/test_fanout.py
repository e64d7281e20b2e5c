"""Scopes: bindings follow the connections, and a feed that fails at any step comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.edge import fanout
from services.edge.fanout import UNBIND_AT_ONCE, Fanout
from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable
from shared.ports.broker import Broker
from tests.eventually import eventually


class FeedHere:
    """A feed whose bindings a test can see, and whose next calls it can let fail."""

    def __init__(self, broker: BrokerHere, on_entry: Callable[[Entry], None], on_lost: Callable[[str], None]) -> None:
        self.broker, self.on_entry, self.on_lost = broker, on_entry, on_lost
        self.tags: set[str] = set()
        self.is_closed = False

    async def bind(self, tags: Collection[str]) -> None:
        await self.broker.step("bind")
        self.tags |= set(tags)

    async def unbind(self, tags: Collection[str]) -> None:
        await self.broker.step("unbind")
        self.tags -= set(tags)

    async def close(self) -> None:
        self.is_closed = True


class BrokerHere:
    """Only what the fan-out uses of a broker."""

    def __init__(self) -> None:
        self.feeds: list[FeedHere] = []
        self.failing: set[str] = set()
        self.calls: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def open_feed(
        self,
        on_entry: Callable[[Entry], None],
        on_lost: Callable[[str], None],
        on_progress: Callable[[int], None] | None = None,
    ) -> FeedHere:
        await self.step("open")
        self.feeds.append(FeedHere(self, on_entry, on_lost))
        return self.feeds[-1]

    async def step(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)
        await self.answers.wait()
        if name in self.failing:
            raise BrokerUnavailable(f"{name} fails")

    @property
    def open_feeds(self) -> list[FeedHere]:
        return [feed for feed in self.feeds if not feed.is_closed]


class Client:
    def __init__(self, *tags: str) -> None:
        self.tags = frozenset(tags)
        self.received: list[int] = []
        self.log: list[str] = []

    def deliver(self, entry: Entry, frame: bytes) -> None:
        self.received.append(entry.position)

    def progressed(self, position: int) -> None:
        self.log.append(f"progress {position}")

    def bound(self) -> None:
        self.log.append("bound")

    def interrupted(self) -> None:
        self.log.append("interrupted")


class Setup:
    """A fan-out over a broker that is here, and its background tasks."""

    def __init__(self) -> None:
        self.broker = BrokerHere()
        self.tasks: set[asyncio.Task[None]] = set()
        self.encoded = 0
        self.fanout = Fanout(cast("Broker", self.broker), self._encode, self._spawn)

    def _encode(self, entry: Entry) -> bytes:
        self.encoded += 1
        return entry.event

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def settled(self) -> None:
        while self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def dispatch(self, position: int, *audience: str) -> None:
        entry = Entry(position, None, "/s", str(position), "t", None, audience, False, None, None, NOW, b"{}")
        for feed in self.broker.open_feeds:
            if feed.tags & set(audience):
                feed.on_entry(entry)


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(fanout, "REOPEN_S", 0.001)
    return Setup()


async def test_connections_of_a_scope_share_a_feed_with_the_tags_that_any_of_them_needs(setup: Setup) -> None:
    one, two, other = Client("user:a", "everyone"), Client("user:a", "topic:t"), Client("user:b", "everyone")
    await setup.fanout.join("a", one)
    await setup.fanout.join("a", two)
    await setup.fanout.join("b", other)
    assert [feed.tags for feed in setup.broker.open_feeds] == [
        {"user:a", "everyone", "topic:t"},
        {"user:b", "everyone"},
    ]
    setup.dispatch(1, "user:a")
    setup.dispatch(2, "topic:t")
    setup.dispatch(3, "everyone")
    assert (one.received, two.received, other.received) == ([1, 3], [1, 2], [3])


async def test_a_frame_is_encoded_once_for_all_feeds_and_connections(setup: Setup) -> None:
    for number in range(10):
        await setup.fanout.join(f"user {number % 3}", Client("everyone"))
    setup.dispatch(1, "everyone")
    assert setup.encoded == 1


async def test_many_joins_at_once_bind_together(setup: Setup) -> None:
    clients = [Client(f"user:{number}", "everyone") for number in range(50)]
    await asyncio.gather(*(setup.fanout.join("edge", client) for client in clients))
    assert setup.broker.calls.count("bind") <= 3
    assert len(setup.broker.open_feeds[0].tags) == 51


async def test_bindings_go_with_the_last_connection_that_needs_them(setup: Setup) -> None:
    one, two = Client("user:a", "everyone"), Client("user:b", "everyone")
    await setup.fanout.join("edge", one)
    await setup.fanout.join("edge", two)
    setup.fanout.leave("edge", one)
    setup.fanout.leave("edge", one)
    await setup.settled()
    assert setup.broker.open_feeds[0].tags == {"user:b", "everyone"}
    setup.fanout.leave("edge", two)
    await setup.settled()
    assert setup.broker.open_feeds == []
    assert list(setup.fanout.scopes()) == []


async def test_who_joins_does_not_wait_for_all_that_many_leave_behind(setup: Setup) -> None:
    """500 users move to another edge, and a binding takes a round trip to go."""
    await setup.fanout.join("edge", Client("everyone"))
    going = [Client(f"user:{number}") for number in range(10 * UNBIND_AT_ONCE)]
    for client in going:
        await setup.fanout.join("edge", client)
    for client in going:
        setup.fanout.leave("edge", client)
    await setup.fanout.join("edge", Client("user:new"))
    assert len(setup.broker.open_feeds[0].tags) >= 8 * UNBIND_AT_ONCE
    await setup.settled()
    assert setup.broker.open_feeds[0].tags == {"everyone", "user:new"}


async def test_leaving_and_coming_back_at_once_keeps_the_binding(setup: Setup) -> None:
    stays, goes, comes = Client("everyone"), Client("user:a"), Client("user:a")
    await setup.fanout.join("edge", stays)
    await setup.fanout.join("edge", goes)
    setup.fanout.leave("edge", goes)
    await setup.fanout.join("edge", comes)
    await setup.settled()
    setup.dispatch(1, "user:a")
    assert comes.received == [1]


@pytest.mark.parametrize("failing", ["open", "bind"])
async def test_a_join_that_fails_says_so_and_leaves_nothing_behind(setup: Setup, failing: str) -> None:
    setup.broker.failing = {failing}
    client = Client("user:a")
    with pytest.raises(BrokerUnavailable):
        await setup.fanout.join("a", client)
    setup.broker.failing = set()
    await setup.settled()
    assert setup.broker.open_feeds == []
    assert list(setup.fanout.scopes()) == []
    await setup.fanout.join("a", client)
    setup.dispatch(1, "user:a")
    assert client.received == [1]


async def test_a_join_that_fails_interrupts_the_others_until_the_feed_is_back(setup: Setup) -> None:
    stays, late = Client("user:a"), Client("user:b")
    await setup.fanout.join("edge", stays)
    setup.broker.failing = {"bind"}
    with pytest.raises(BrokerUnavailable):
        await setup.fanout.join("edge", late)
    assert stays.log == ["bound", "interrupted"]
    setup.broker.failing = set()
    await setup.settled()
    assert stays.log == ["bound", "interrupted", "bound"]
    setup.dispatch(1, "user:a")
    assert (stays.received, late.received) == ([1], [])


@pytest.mark.parametrize("at", ["open", "bind"])
async def test_a_client_that_goes_while_it_joins_breaks_off_nothing_for_the_others(setup: Setup, at: str) -> None:
    """Its request is cancelled in the middle of a binding. The feed of the whole edge was given up for that."""
    stays, goes, waits = Client("user:a"), Client("user:b"), Client("user:c")
    if at == "bind":
        await setup.fanout.join("edge", stays)
    setup.broker.calls.clear()
    setup.broker.answers.clear()
    going = asyncio.create_task(setup.fanout.join("edge", goes))
    waiting = asyncio.create_task(setup.fanout.join("edge", waits))
    await eventually(lambda: at in setup.broker.calls)
    going.cancel()
    await asyncio.wait([going])
    assert going.cancelled()
    setup.broker.answers.set()
    await waiting
    await setup.settled()
    assert (stays.log, waits.log) == (["bound"] if at == "bind" else [], ["bound"])
    assert len(setup.broker.feeds) == 1
    assert setup.broker.open_feeds[0].tags == set().union(*(c.tags for c in (stays, waits) if c.log))


async def test_who_left_is_not_brought_back_by_a_change_of_its_tags(setup: Setup) -> None:
    """A tab follows a topic and is closed. The edge delivered to what was left of it until it was stopped."""
    stays, goes = Client("user:a"), Client("user:a")
    await setup.fanout.join("a", stays)
    await setup.fanout.join("a", goes)
    setup.fanout.leave("a", goes)
    await setup.fanout.change("a", goes, frozenset({"user:a", "topic:t"}))
    await setup.settled()
    setup.dispatch(1, "user:a")
    assert (stays.received, goes.received) == ([1], [])
    assert setup.broker.open_feeds[0].tags == {"user:a"}


async def test_who_holds_several_tags_of_an_event_takes_it_once(setup: Setup) -> None:
    """Each further time told its trace, and had the user's counts looked up, for nothing."""
    both, one = Client("user:a", "topic:t"), Client("topic:t")
    for client in (both, one):
        await setup.fanout.join("edge", client)
    setup.dispatch(1, "user:a", "topic:t", "user:nobody")
    assert (both.received, one.received) == ([1], [1])


async def test_a_lost_feed_is_opened_again_with_all_bindings(setup: Setup) -> None:
    one, two = Client("user:a"), Client("user:b")
    await setup.fanout.join("edge", one)
    await setup.fanout.join("edge", two)
    lost = setup.broker.open_feeds[0]
    setup.broker.failing = {"open"}
    lost.is_closed = True
    lost.on_lost("connection closed")
    assert (one.log[-1], two.log[-1]) == ("interrupted", "interrupted")
    await eventually(lambda: setup.broker.calls.count("open") >= 4)
    setup.broker.failing = set()
    await setup.settled()
    assert (one.log[-1], two.log[-1]) == ("bound", "bound")
    assert setup.broker.open_feeds[0].tags == {"user:a", "user:b"}


async def test_a_feed_lost_while_it_is_bound_is_no_success(setup: Setup) -> None:
    client = Client("user:a")

    async def lose_while_binding(name: str) -> None:
        if name == "bind":
            setup.broker.feeds[-1].is_closed = True
            setup.broker.feeds[-1].on_lost("gone")

    setup.broker.step = lose_while_binding  # type: ignore[method-assign]  # one step is all this test needs
    with pytest.raises(BrokerUnavailable):
        await setup.fanout.join("a", client)
    assert client.log[:1] != ["bound"]


async def test_leaving_while_the_feed_is_lost_ends_the_recovery(setup: Setup) -> None:
    client = Client("user:a")
    await setup.fanout.join("a", client)
    setup.broker.failing = {"open"}
    setup.broker.open_feeds[0].on_lost("gone")
    setup.fanout.leave("a", client)
    await setup.settled()
    assert list(setup.fanout.scopes()) == []
