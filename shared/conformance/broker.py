"""Every promise of `shared.ports.broker.Broker` as a check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress

from shared.conformance import BrokerMaker
from shared.conformance.event_log import assert_equal
from shared.conformance.samples import an_entry, an_event, awkward_entries, entries, events, many_tags, positions_of
from shared.conformance.waiting import QUIET_S, eventually, eventually_some, within_deadline
from shared.model.entry import Entry
from shared.model.errors import CarillonError
from shared.model.event import Event
from shared.ports.broker import Arrival, Broker, DeadLetter, Feed, Intake, Waiting

BrokerCheck = Callable[[BrokerMaker], Awaitable[None]]

# Wide enough that only the checks of the prefetch ever meet it.
PREFETCH = 500
# How long a batch may gather; the checks never depend on its being over.
GATHER_S = 0.05
# A position beyond those of any check: what was sent before it has arrived once it is there.
MARKER = 1_000_000


async def it_answers(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        await within_deadline(broker.ping(), "a broker that is up answers")


async def publishes_arrive_in_order(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        sent = events(1, 50)
        await _publish(broker, sent)
        async with broker.intake(PREFETCH) as intake:
            found = await _collect(intake, 50)
            assert _decoded(found) == sent, "what one publisher confirmed arrives in that order, unchanged"
            receipts = [arrival.receipt for arrival in found]
            assert receipts == sorted(set(receipts)), "receipts rise"
            assert not any(arrival.redelivered for arrival in found), "nothing of it was received before"
            await intake.ack(found[-1])


async def publishes_of_many_at_once_keep_their_order(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        # More than any window of confirms, from two callers, and one id twice on the way.
        mine, others = [*events(1, 300), an_event(7, source="/other")], events(1000, 300)
        both = asyncio.gather(broker.publish(*mine), broker.publish(*others), broker.publish())
        await within_deadline(both, "all are confirmed")
        async with broker.intake(2 * len(mine)) as intake:
            found = _decoded(await _collect(intake, len(mine) + len(others)))
        kept = {event.source + event.id: event for event in mine}
        assert [event for event in found if event.source + event.id in kept] == mine, "in the order given"
        assert [event for event in found if event.source + event.id not in kept] == others, "in the order given"


async def publishes_reach_an_intake_that_waits(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker, broker.intake(PREFETCH) as intake:
        for event in events(1, 20):
            waiting = asyncio.create_task(intake.batch(10, GATHER_S), name="waiting intake")
            await broker.publish(event)
            found = await within_deadline(waiting, "a waiting intake gets what is published")
            assert _decoded(found) == [event]
            await intake.ack(found[-1])


async def concurrent_publishes_all_arrive(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        sent = events(1, 300)
        await within_deadline(asyncio.gather(*map(broker.publish, sent)), "all are confirmed")
        async with broker.intake(PREFETCH) as intake:
            found = _decoded(await _collect(intake, 300))
            assert {event.id for event in found} == {event.id for event in sent}, "no confirmed publish is lost"


async def events_and_bytes_arrive_unchanged(make: BrokerMaker) -> None:
    tags = " ".join(f"user:{number}" for number in range(1500))
    sent = [
        an_event(1, subject="Auftrag/ä", time="2026-01-31T12:00:00.123456789+01:00", final=True, audience=tags),
        an_event(2, data="ünïcode 🎉 " + "x" * 200_000),
        an_event(3, id="日" * 85, type="t" * 255, source="s" * 2048, expectedversion=0, subject="s"),
    ]
    raw = [b"", b"\x00\xff not JSON", b'{"specversion": "1.0"}', b"x" * 1_000_000]
    async with make() as storage, storage.client() as broker:
        await _publish(broker, sent)
        for body in raw:
            await broker.publish_raw(body, "application/octet-stream")
        async with broker.intake(PREFETCH) as intake:
            found = await _collect(intake, 7)
            assert _decoded(found[:3]) == sent, "an event says the same after its way"
            assert [arrival.body for arrival in found[3:]] == raw, "bytes arrive as they were sent, whatever they are"


async def a_batch_holds_no_more_than_asked_for(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker, broker.intake(PREFETCH) as intake:
        sent = events(1, 10)
        await _publish(broker, sent)
        found: list[Arrival] = []
        while len(found) < 10:
            batch = await within_deadline(intake.batch(3, GATHER_S), "a batch comes")
            assert 1 <= len(batch) <= 3, f"{len(batch)} where 1 to 3 were asked for"
            found += batch
        assert _decoded(found) == sent, "batches follow one another without gap or repeat"


async def a_batch_gathers_what_is_there(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker, broker.intake(PREFETCH) as intake:
        await _publish(broker, events(1, 20))
        batch = await within_deadline(intake.batch(20, 60.0), "a full batch does not wait until its time is over")
        assert len(batch) == 20, f"{len(batch)} of 20 that were there, with a minute to gather them"
        await _publish(broker, events(21, 1))
        lone = await within_deadline(intake.batch(20, GATHER_S), "a batch that stays small comes after its time")
        assert len(lone) == 1


async def a_cancelled_batch_loses_nothing(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker, broker.intake(PREFETCH) as intake:
        sent = events(1, 30)
        found: list[Arrival] = []
        for turn, event in enumerate(sent):
            waiting = asyncio.create_task(intake.batch(10, GATHER_S), name="batch to cancel")
            await broker.publish(event)
            found += await _cancelled_after(turn % 7, waiting)
        found += await _collect(intake, len(sent) - len(found))
        assert _decoded(found) == sent, "a cancelled batch leaves its arrivals to the next"


async def acknowledged_arrivals_do_not_come_again(make: BrokerMaker) -> None:
    async with make() as storage:
        async with storage.client() as broker:
            await _publish(broker, events(1, 10))
            async with broker.intake(PREFETCH) as intake:
                found = await _collect(intake, 10)
                await intake.ack(found[5])
            async with broker.intake(PREFETCH) as intake:
                again = await _collect(intake, 4)
                assert _numbers(again) == ["7", "8", "9", "10"], "the sixth was acknowledged, and all before it"
                assert all(arrival.redelivered for arrival in again), "what was received before says so"
                await intake.ack(again[-1])
                await _assert_quiet(intake)
        async with storage.client() as broker, broker.intake(PREFETCH) as intake:
            await _assert_quiet(intake)


async def unacknowledged_arrivals_come_again_first(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        await _publish(broker, events(1, 5))
        async with broker.intake(PREFETCH) as intake:
            await _collect(intake, 3, at_once=3)
        await _publish(broker, events(6, 2))
        async with broker.intake(PREFETCH) as intake:
            again = await _collect(intake, 7)
            assert _numbers(again) == list("1234567"), "what comes again comes first, in its order"
            assert all(arrival.redelivered for arrival in again[:3]), "what was received before says so"


async def arrivals_may_come_again_many_times(make: BrokerMaker) -> None:
    """A consumer that crashes at each attempt must not make the broker drop what it never finished."""
    async with make() as storage, storage.client() as broker:
        await _publish(broker, events(1, 5))
        for _ in range(8):
            async with broker.intake(PREFETCH) as intake:
                assert _numbers(await _collect(intake, 5)) == list("12345"), "all of them, in order, each time"


async def nothing_confirmed_is_lost_by_a_restart(make: BrokerMaker) -> None:
    async with make() as storage:
        async with storage.client() as broker:
            await _publish(broker, events(1, 6))
            async with broker.intake(PREFETCH) as intake:
                await intake.ack((await _collect(intake, 4))[1])
        async with storage.client() as broker:
            await _publish(broker, events(7, 2))
            async with broker.intake(PREFETCH) as intake:
                again = await _collect(intake, 6)
                assert _numbers(again) == list("345678"), "after a restart the unacknowledged come first, in order"
                assert all(arrival.redelivered for arrival in again[:2]), "what was received before says so"


async def a_second_intake_stands_by_and_takes_over(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        async with broker.intake(PREFETCH) as active:
            await _publish(broker, events(1, 2))
            await active.ack((await _collect(active, 2))[0])
            async with broker.intake(PREFETCH) as standby:
                waiting = asyncio.create_task(standby.batch(10, GATHER_S), name="standby")
                await _publish(broker, events(3, 2))
                # Only the one that stands by asks now, and is not answered.
                await asyncio.wait([waiting], timeout=QUIET_S)
                assert not waiting.done(), "one that stands by receives nothing"
                assert _numbers(await _collect(active, 2)) == ["3", "4"], "the first stays the active one"
                waiting.cancel()
                await asyncio.wait([waiting])
        async with broker.intake(PREFETCH) as first:
            successor = asyncio.create_task(_take_over(broker), name="successor")
            assert _numbers(await _collect(first, 3)) == ["2", "3", "4"]
        taken = await within_deadline(successor, "when the active intake closes, the next one takes over")
        assert taken == ["2", "3", "4"], "beginning with what was not acknowledged"


async def no_more_than_the_prefetch_is_unacknowledged(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        await _publish(broker, events(1, 12))
        async with broker.intake(5) as intake:
            found = await _collect(intake, 5)
            await _assert_quiet(intake)
            await intake.ack(found[2])
            found += await _collect(intake, 3)
            await _assert_quiet(intake)
            await intake.ack(found[-1])
            found += await _collect(intake, 4)
            assert _numbers(found) == [str(number) for number in range(1, 13)], "the bound changes no order"


async def dead_letters_are_kept_whole_and_in_order(make: BrokerMaker) -> None:
    letters = [
        DeadLetter(b"\x00\xff garbage", "invalid-event", "body: it is not JSON; send UTF-8 JSON"),
        DeadLetter(b"", "invalid-event", "leer: ä ö ü 🎉", {"source": "/shop", "id": "日本", "position": "7"}),
        DeadLetter(b"x" * 300_000, "too-large", "body: 300000 bytes; send at most 262144"),
    ]
    async with make() as storage:
        async with storage.client() as broker:
            assert list(await broker.dead_letters(10)) == [], "at first nothing is dead"
            for letter in letters:
                await broker.park(letter)
            assert list(await broker.dead_letters(10)) == letters, "whole, the oldest first"
            assert list(await broker.dead_letters(2)) == letters[:2], "up to the limit"
            assert list(await broker.dead_letters(10)) == letters, "left where they are"
        async with storage.client() as broker:
            assert list(await broker.dead_letters(10)) == letters, "also after a restart"


async def dead_letters_are_requeued_and_dropped_one_by_one(make: BrokerMaker) -> None:
    letters = [
        DeadLetter(f"letter {number}".encode(), "invalid-event", "why", {"n": str(number)}) for number in "12345"
    ]
    async with make() as storage:
        async with storage.client() as broker:
            for letter in letters:
                await broker.park(letter)
            first, second, third, fourth, fifth = [letter.id for letter in await broker.dead_letters(10)]
            assert len({first, second, third, fourth, fifth}) == 5, "each has an id of its own"
            assert list(await broker.drop_dead([second, "unknown"])) == [second], "what was found is told"
            assert list(await broker.dead_letters(10)) == [letters[0], *letters[2:]], "the others stay, in order"
            found = await broker.requeue_dead([first, fourth], {fourth: b"edited", third: b"not asked for"})
            assert sorted(found) == sorted([first, fourth])
            assert list(await broker.dead_letters(10)) == [letters[2], letters[4]]
            async with broker.intake(10) as intake:
                arrivals = await _collect(intake, 2)
                assert [arrival.body for arrival in arrivals] == [b"letter 1", b"edited"], (
                    "published, edited or as it was"
                )
                await intake.ack(arrivals[-1])
            assert list(await broker.requeue_dead([first])) == [], "twice is once"
        async with storage.client() as broker:
            left = await broker.dead_letters(10)
            assert list(left) == [letters[2], letters[4]], "also after a restart"
            assert [letter.id for letter in left] == [third, fifth], "under the same ids"
            assert sorted(await broker.drop_dead([third, fifth])) == sorted([third, fifth])
            assert list(await broker.dead_letters(10)) == []


async def operators_who_meet_settle_each_dead_letter_once(make: BrokerMaker) -> None:
    letters = [DeadLetter(str(number).encode(), "invalid-event", "why") for number in range(20)]
    async with make() as storage, storage.client() as one, storage.client() as two:
        for letter in letters:
            await one.park(letter)
        ids = [letter.id for letter in await two.dead_letters(100)]
        some, others = ids[::2], ids[1::2]
        dropped, requeued, seen, both = await within_deadline(
            asyncio.gather(
                one.drop_dead(some), two.requeue_dead(others), one.dead_letters(100), two.drop_dead(ids[:1])
            ),
            "everybody has their turn",
        )
        assert sorted([*dropped, *both]) == sorted(some), "each is dropped once"
        assert sorted(requeued) == sorted(others)
        assert {letter.id for letter in seen} in (set(ids), set(others), set(some), set()), "a look sees all there is"
        assert list(await two.dead_letters(100)) == []
        async with two.intake(100) as intake:
            arrivals = await _collect(intake, len(others))
            assert [arrival.body for arrival in arrivals] == [letter.body for letter in letters[1::2]]


async def a_feed_receives_what_it_is_bound_to(make: BrokerMaker) -> None:
    async with _receiving(make, ["user:alice", "topic:a"]) as (broker, alice):
        sent = [
            an_entry(1, "user:alice"),
            an_entry(2, "user:bob"),
            an_entry(3, "topic:a", "topic:b"),
            an_entry(4),
            an_entry(5, "topic:b", "user:alice", "topic:a"),
            an_entry(6, "everyone"),
            an_entry(7, "user:alic"),
            an_entry(8, "user:alice.b", "topic:*", "topic:#"),
        ]
        await broker.deliver(sent)
        assert await alice.until_marker(broker, "user:alice") == [1, 3, 5], "entries of its tags and no others"


async def a_delivered_entry_comes_back_equal(make: BrokerMaker) -> None:
    async with _receiving(make, ["user:alice"]) as (broker, alice):
        sent = awkward_entries(1, "user:alice")
        await broker.deliver(sent)
        await alice.until_marker(broker, "user:alice")
        assert_equal(alice.distinct[:-1], sent)


async def a_feed_keeps_the_order_of_delivery(make: BrokerMaker) -> None:
    async with _receiving(make, ["topic:0", "topic:1", "topic:2"]) as (broker, feed):
        sent = [an_entry(at, *{f"topic:{at % 3}", f"topic:{at % 2}"}) for at in range(1, 601)]
        for first in range(0, 600, 50):
            await broker.deliver(sent[first : first + 50])
        assert await feed.until_marker(broker, "topic:0") == positions_of(sent), "in the order given, without a gap"


async def a_bind_holds_from_its_return(make: BrokerMaker) -> None:
    async with _receiving(make, []) as (broker, feed):
        for position in range(1, 30):
            await feed.feed.bind([f"topic:{position}"])
            await broker.deliver([an_entry(position, f"topic:{position}")])
        assert await feed.until_marker(broker, "topic:1") == list(range(1, 30)), (
            "what is delivered from then on arrives"
        )


async def a_feed_takes_many_tags_at_once(make: BrokerMaker) -> None:
    tags = [f"topic:{number}" for number in range(300)]
    async with _receiving(make, tags) as (broker, feed):
        await feed.feed.bind(tags[:10])
        await broker.deliver([an_entry(at, tag) for at, tag in enumerate(tags, 1)])
        assert await feed.until_marker(broker, "topic:7") == list(range(1, 301)), "each of its tags is bound"


async def a_large_audience_reaches_every_feed(make: BrokerMaker) -> None:
    audience = many_tags()
    async with make() as storage, storage.client() as broker:
        bound = [*audience[::100], audience[-1]]
        feeds = [await _opened(broker, [tag]) for tag in bound]
        everywhere = await _opened(broker, audience[::7])
        await broker.deliver([an_entry(1, *audience), an_entry(2, *reversed(audience))])
        for feed, tag in zip([*feeds, everywhere], [*bound, audience[0]], strict=True):
            assert await feed.until_marker(broker, tag) == [1, 2], f"each of {len(audience)} tags is reached"
            await feed.feed.close()


async def feeds_do_not_disturb_each_other(make: BrokerMaker) -> None:
    async with _receiving(make, ["everyone", "user:alice"]) as (broker, alice):
        bob = await _opened(broker, ["everyone", "user:bob"])
        await broker.deliver([an_entry(1, "everyone"), an_entry(2, "user:bob"), an_entry(3, "user:alice")])
        assert await bob.until_marker(broker, "user:bob") == [1, 2]
        await bob.feed.close()
        await broker.deliver([an_entry(4, "everyone")])
        assert await alice.until_marker(broker, "user:alice") == [1, 3, 4], "another's end is not hers"


async def unbinding_one_tag_keeps_the_others(make: BrokerMaker) -> None:
    async with _receiving(make, ["topic:a", "topic:b", "topic:c"]) as (broker, feed):
        await feed.feed.unbind(["topic:a", "topic:c"])
        await feed.feed.unbind(["topic:a", "topic:never"])
        await broker.deliver([an_entry(1, "topic:b"), an_entry(2, "topic:a", "topic:b")])
        assert await feed.until_marker(broker, "topic:b") == [1, 2], "tags that are still bound arrive"
        await feed.feed.bind(["topic:a"])
        await broker.deliver([an_entry(MARKER + 1, "topic:a")])
        await eventually(lambda: MARKER + 1 in feed.positions, "a tag can be bound again")


async def a_closed_feed_is_quiet_and_closes_again(make: BrokerMaker) -> None:
    async with _receiving(make, ["topic:a"]) as (broker, witness):
        closed = await _opened(broker, ["topic:a"])
        await broker.deliver([an_entry(1, "topic:a")])
        await eventually(lambda: closed.positions == [1], "an open feed receives")
        await closed.feed.close()
        await closed.feed.close()
        await broker.deliver([an_entry(2, "topic:a")])
        await witness.until_marker(broker, "topic:a")
        assert set(closed.positions) == {1}, "a closed feed receives nothing"
        assert closed.lost == [], "a feed that its owner closed was not lost"


async def a_feed_is_lost_at_most_once(make: BrokerMaker) -> None:
    async with make() as storage:
        async with storage.client() as broker:
            feed = await _opened(broker, ["topic:a"])
        await within_deadline(feed.feed.close(), "a feed closes also when its broker has gone")
        assert len(feed.lost) <= 1, f"the end of a feed is told once, not {feed.lost}"


async def a_delivery_to_nobody_is_done_at_once(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        unheard = [an_entry(1, "user:nobody"), an_entry(2), an_entry(3, *many_tags()), *entries(4, 100, "everyone")]
        await within_deadline(broker.deliver(unheard), "nobody listens, so nobody is waited for")
        await broker.deliver([])


async def it_says_who_of_the_watched_reached_nobody(make: BrokerMaker) -> None:
    async with _receiving(make, ["user:alice"]) as (broker, receiver):
        heard, unheard, unaddressed = an_entry(1, "user:alice", "user:bob"), an_entry(2, "user:bob"), an_entry(3)
        found = await within_deadline(broker.deliver([heard, unheard, unaddressed], [1, 2, 3]), "all are confirmed")
        assert set(found) == {2, 3}, "no feed was bound for them"
        unwatched = entries(4, 50, "user:bob")
        assert not await broker.deliver(unwatched), "nobody asked for these"
        # Ids are not unique among sources: an answer for one must not be taken for the other's.
        twins = [an_entry(54, "user:alice", id="same"), an_entry(55, "user:bob", id="same", source="/other")]
        assert 54 not in await broker.deliver(twins, [54, 55]), "a feed received it"
        assert 55 in set(await broker.deliver([an_entry(56, "user:alice"), twins[1]], [55])), "its own answer"
        received = await receiver.until_marker(broker, "user:alice")
        assert received == [1, 54, 56], "watching changes nothing for who is connected"


async def it_tells_what_waits(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        assert await broker.waiting() == Waiting(0, 0), "at first nothing waits"
        await _publish(broker, events(1, 5))
        await broker.park(DeadLetter(b"garbage", "invalid-event", "it is none"))
        await _waits(broker, Waiting(5, 1), "what was published and parked waits")
        async with broker.intake(PREFETCH) as intake:
            await intake.ack((await _collect(intake, 5))[-1])
            await _waits(broker, Waiting(0, 1), "what was taken does not")


async def _waits(broker: Broker, expected: Waiting, promise: str) -> None:
    async def ask() -> bool | None:
        return await broker.waiting() == expected or None

    await eventually_some(ask, promise)


BROKER_CHECKS: tuple[BrokerCheck, ...] = (
    it_answers,
    publishes_arrive_in_order,
    publishes_of_many_at_once_keep_their_order,
    publishes_reach_an_intake_that_waits,
    concurrent_publishes_all_arrive,
    events_and_bytes_arrive_unchanged,
    a_batch_holds_no_more_than_asked_for,
    a_batch_gathers_what_is_there,
    a_cancelled_batch_loses_nothing,
    acknowledged_arrivals_do_not_come_again,
    unacknowledged_arrivals_come_again_first,
    arrivals_may_come_again_many_times,
    nothing_confirmed_is_lost_by_a_restart,
    a_second_intake_stands_by_and_takes_over,
    no_more_than_the_prefetch_is_unacknowledged,
    dead_letters_are_kept_whole_and_in_order,
    dead_letters_are_requeued_and_dropped_one_by_one,
    operators_who_meet_settle_each_dead_letter_once,
    a_feed_receives_what_it_is_bound_to,
    a_delivered_entry_comes_back_equal,
    a_feed_keeps_the_order_of_delivery,
    a_bind_holds_from_its_return,
    a_feed_takes_many_tags_at_once,
    a_large_audience_reaches_every_feed,
    feeds_do_not_disturb_each_other,
    unbinding_one_tag_keeps_the_others,
    a_closed_feed_is_quiet_and_closes_again,
    a_feed_is_lost_at_most_once,
    a_delivery_to_nobody_is_done_at_once,
    it_says_who_of_the_watched_reached_nobody,
    it_tells_what_waits,
)


async def check_broker(make: BrokerMaker) -> None:
    """Runs every check, one after the other. Raises `AssertionError` at the first broken promise."""
    for check in BROKER_CHECKS:
        await check(make)


class Receiver:
    """One feed and what came out of it."""

    def __init__(self) -> None:
        self.feed: Feed
        self.entries: list[Entry] = []
        self.lost: list[str] = []

    @property
    def positions(self) -> list[int]:
        return positions_of(self.entries)

    @property
    def distinct(self) -> list[Entry]:
        """Each entry where it came first: the port allows repeats."""
        return list({entry.position: entry for entry in reversed(self.entries)}.values())[::-1]

    async def until_marker(self, broker: Broker, tag: str) -> list[int]:
        """The distinct positions before the marker, which is sent last and so arrives last."""
        await broker.deliver([an_entry(MARKER, tag)])
        await eventually(lambda: MARKER in self.positions, f"what is delivered to {tag} arrives")
        assert self.lost == [], "this feed lost nothing"
        before = self.positions[: self.positions.index(MARKER)]
        return list(dict.fromkeys(before))


async def _opened(broker: Broker, tags: Collection[str]) -> Receiver:
    receiver = Receiver()
    receiver.feed = await broker.open_feed(receiver.entries.append, receiver.lost.append)
    await receiver.feed.bind(tags)
    return receiver


@asynccontextmanager
async def _receiving(make: BrokerMaker, tags: Collection[str]) -> AsyncIterator[tuple[Broker, Receiver]]:
    async with make() as storage, storage.client() as broker:
        receiver = await _opened(broker, tags)
        yield broker, receiver
        await receiver.feed.close()


async def _publish(broker: Broker, sent: Sequence[Event]) -> None:
    for event in sent:
        await within_deadline(broker.publish(event), "a publish is confirmed")


async def _collect(intake: Intake, count: int, *, at_once: int = PREFETCH) -> list[Arrival]:
    """The next `count` arrivals, in as many batches as they take."""
    found: list[Arrival] = []
    while len(found) < count:
        wanted = min(at_once, count - len(found))
        found += await within_deadline(intake.batch(wanted, GATHER_S), f"{count} arrivals, {len(found)} came")
    return found


async def _assert_quiet(intake: Intake) -> None:
    try:
        async with asyncio.timeout(QUIET_S):
            found = await intake.batch(10, GATHER_S)
    except TimeoutError:
        return
    raise AssertionError(f"nothing more may come, but {_numbers(found)} did")


async def _cancelled_after(steps: int, waiting: asyncio.Task[Sequence[Arrival]]) -> Sequence[Arrival]:
    """Cancels the batch when the event loop has turned `steps` times; what it returned if it was done by then."""
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError, CarillonError):
        return await waiting
    return []


async def _take_over(broker: Broker) -> list[str]:
    async with broker.intake(PREFETCH) as intake:
        return _numbers(await _collect(intake, 3))


def _decoded(arrivals: Sequence[Arrival]) -> list[Event]:
    return [Event.from_json(arrival.body) for arrival in arrivals]


def _numbers(arrivals: Sequence[Arrival]) -> list[str]:
    return [event.id.removeprefix("event-") for event in _decoded(arrivals)]
