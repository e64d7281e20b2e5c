"""Every promise of `shared.ports.event_log.EventLog` as a check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from itertools import chain

from shared.conformance import LogMaker
from shared.conformance.samples import SOURCE, a_stream, an_entry, awkward_entries, entries, positions_of
from shared.conformance.waiting import eventually_some, steadily, within_deadline
from shared.model.cursor import Cursor
from shared.model.entry import Entry
from shared.model.errors import AppendConflict, CarillonError, FenceLost
from shared.ports.event_log import EventLog, Fence

LogCheck = Callable[[LogMaker], Awaitable[None]]

# Outlasts any check, so that only what a check does ends a lease.
LONG_LEASE_S = 300.0
# Long enough to be asked for twice over a network, short enough to be waited for.
SHORT_LEASE_S = 0.5
# Enough pages and batches for a reader and a writer to overtake each other many times.
RACE_ENTRIES = 600
PAGE = 7
# More than one SQL statement or one MongoDB batch would take unnoticed.
MANY = 1500


async def a_new_log_is_empty(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        head = await log.head()
        page = await log.read(0, 10)
        assert (head.last, head.floor) == (0, 0), f"a new log ends at 0, not {head}"
        assert list(page.entries) == [], "a new log holds nothing"
        assert page.through == 0, f"nothing was read through 0, not {page.through}"
        assert page.at_head, "the end of an empty log is reached at once"
        assert await log.checkpoint("follower") == 0, "a follower that never began stands at 0"


async def a_log_id_fits_a_cursor_and_stays(make: LogMaker) -> None:
    async with make() as storage:
        async with storage.client() as first, storage.client() as second:
            head = await first.head()
            assert Cursor.parse(str(Cursor(head.log_id, 1))).log_id == head.log_id
            assert (await second.head()).log_id == head.log_id, "every client names the log alike"
        async with storage.client() as reopened:
            assert (await reopened.head()).log_id == head.log_id, "a log keeps its id"


async def every_log_has_its_own_id(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        first = (await log.head()).log_id
    async with make() as storage, storage.client() as log:
        assert (await log.head()).log_id != first, "a cursor of one log must not fit another"


async def entries_come_back_equal(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        written = awkward_entries(1, "user:alice")
        await log.append(await claimed(log), written)
        assert_equal((await log.read(0, 100)).entries, written)
        assert_equal((await log.read(0, 100, ["user:alice"])).entries, written)


async def the_head_is_the_last_append(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log, storage.client() as other:
        fence = await claimed(log)
        for first, count in ((1, 1), (2, 3), (5, 100)):
            await log.append(fence, entries(first, count))
            assert (await log.head()).last == first + count - 1
            assert (await other.head()).last == first + count - 1, "a confirmed append is seen by everyone"


async def the_log_outlives_its_clients(make: LogMaker) -> None:
    written = entries(1, 20, "user:alice")
    async with make() as storage:
        async with storage.client() as log:
            fence = await claimed(log)
            await log.append(fence, written)
            await log.move_checkpoint(fence, "follower", 11)
        async with storage.client() as reopened:
            assert_equal((await reopened.read(0, 100)).entries, written)
            assert await reopened.checkpoint("follower") == 11


async def positions_must_follow_the_last(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, entries(1, 5))
        for wrong in (entries(7, 2), [an_entry(5, id="new")], [an_entry(6), an_entry(8)], [an_entry(6), an_entry(6)]):
            await _refused(log, fence, wrong)
        await log.append(fence, entries(6, 2))
        await _assert_log(log, range(1, 8))


async def a_repeated_append_conflicts(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, entries(1, 10))
        await _refused(log, fence, entries(1, 10))


async def an_identity_is_stored_once(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, [an_entry(1, id="a"), an_entry(2, id="b")])
        await _refused(log, fence, [an_entry(3, id="c"), an_entry(4, id="a"), an_entry(5, id="d")])
        await _refused(log, fence, [an_entry(3, id="c"), an_entry(4, id="c")])
        await log.append(fence, [an_entry(3, id="a", source="/other"), an_entry(4, id="c")])
        await _assert_log(log, range(1, 5))


async def a_version_is_stored_once_in_its_stream(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, a_stream(1, "job/1", [1, 2]))
        await _refused(log, fence, a_stream(3, "job/1", [3, 2]))
        await _refused(log, fence, a_stream(3, "job/2", [1, 1]))
        # Neither another stream nor entries without one are in the way.
        await log.append(fence, [*a_stream(3, "job/2", [1, 2]), an_entry(5), an_entry(6)])
        await _assert_log(log, range(1, 7))


async def a_stopped_writer_that_wakes_up_stores_nothing(make: LogMaker) -> None:
    async with make() as storage, storage.client() as old, storage.client() as new:
        stopped = await claimed(old, "old")
        await old.append(stopped, entries(1, 3))
        fence = await claimed(new, "new")
        # Both before and after its successor wrote: the positions it would take fit once, and clash once.
        await _fenced(old.append(stopped, [an_entry(4, id="stale")]))
        await new.append(fence, entries(4, 2))
        await _fenced(old.append(stopped, [an_entry(4, id="stale")]))
        await _fenced(old.append(stopped, [an_entry(6, id="stale")]))
        await _fenced(old.renew(stopped, LONG_LEASE_S))
        await _fenced(old.move_checkpoint(stopped, "follower", 3))
        assert await new.checkpoint("follower") == 0, "a fenced writer moves no checkpoint"
        await new.append(fence, entries(6, 1))
        await _assert_log(new, range(1, 7))
        assert not await new.positions([(SOURCE, "stale")]), "nothing of a fenced writer is stored"


async def each_claim_is_a_higher_epoch(make: LogMaker) -> None:
    async with make() as storage, storage.client() as one, storage.client() as two:
        first = await claimed(one, "one")
        await one.append(first, entries(1, 4))
        second = await claimed(two, "two")
        third = await claimed(one, "one")
        assert first.epoch < second.epoch < third.epoch, "an epoch is never given twice"
        assert (first.last, second.last, third.last) == (0, 4, 4), "a fence tells where to go on"


async def a_running_lease_is_respected_without_force(make: LogMaker) -> None:
    async with make() as storage, storage.client() as one, storage.client() as two:
        fence = await one.claim("one", LONG_LEASE_S, force=False)
        assert fence is not None, "a log that nobody owns can be claimed"
        assert await two.claim("two", LONG_LEASE_S, force=False) is None, "another's lease still runs"
        await one.append(fence, entries(1, 1))
        again = await one.claim("one", LONG_LEASE_S, force=False)
        assert again is not None, "one's own lease is in nobody's way"
        assert await two.claim("two", LONG_LEASE_S, force=True) is not None, "force takes it from anyone"


async def an_expired_lease_can_be_claimed(make: LogMaker) -> None:
    async with make() as storage, storage.client() as one, storage.client() as two:
        expiring = await one.claim("one", SHORT_LEASE_S, force=True)
        assert expiring is not None
        claim = partial(two.claim, "two", LONG_LEASE_S, force=False)
        fence = await eventually_some(claim, "a lease ends with its time")
        assert fence.epoch > expiring.epoch
        await _fenced(one.append(expiring, entries(1, 1)))


async def an_expired_lease_alone_fences_nobody(make: LogMaker) -> None:
    """The lease tells others when to try; only a claim takes the right to write away."""
    async with make() as storage, storage.client() as log:
        fence = await log.claim("one", 0.001, force=True)
        assert fence is not None
        await log.append(fence, entries(1, 1))
        await log.renew(fence, LONG_LEASE_S)
        assert await log.claim("two", LONG_LEASE_S, force=False) is None, "a renewed lease runs again"


async def a_renewed_lease_runs_on(make: LogMaker) -> None:
    async with make() as storage, storage.client() as one, storage.client() as two:
        fence = await one.claim("one", SHORT_LEASE_S, force=True)
        assert fence is not None
        await one.renew(fence, LONG_LEASE_S)

        async def refused() -> bool:
            return await two.claim("two", LONG_LEASE_S, force=False) is None

        await steadily(refused, 2 * SHORT_LEASE_S, "a renewed lease outlasts its first term")


async def racing_writers_leave_no_gap_and_lose_nothing(make: LogMaker) -> None:
    async with make() as storage, storage.client() as one, storage.client() as two:
        confirmed = await within_deadline(
            asyncio.gather(_write_in_turns(one, "one"), _write_in_turns(two, "two")),
            "two writers that take the log from each other both get on",
        )
        found = await _assert_log(one, None)
        assert {*confirmed[0], *confirmed[1]} <= {entry.id for entry in found}, "a confirmed entry is in the log"


async def racing_appends_of_one_fence_have_one_winner(make: LogMaker) -> None:
    async with make() as storage, storage.client() as one, storage.client() as two:
        fence = await claimed(one)
        for first in range(1, 60, 3):
            batches = [[an_entry(at, id=f"{who}-{at}") for at in range(first, first + 3)] for who in ("one", "two")]
            outcomes = await asyncio.gather(
                one.append(fence, batches[0]), two.append(fence, batches[1]), return_exceptions=True
            )
            assert sorted(isinstance(outcome, AppendConflict) for outcome in outcomes) == [False, True], (
                f"one of two appends at the same positions is stored, the other conflicts: {outcomes}"
            )
        await _assert_log(one, range(1, 61))


async def a_cancelled_append_may_be_repeated(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        for turn in range(25):
            batch = entries(2 * turn + 1, 2)
            await _cancelled_after(turn, log.append(fence, batch))
            with suppress(AppendConflict):
                await log.append(fence, batch)
        await _assert_log(log, range(1, 51))


async def positions_tells_what_the_log_holds(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), [*entries(1, MANY), an_entry(MANY + 1, id="id-1", source="/other")])
        asked = [(SOURCE, f"id-{number}") for number in range(0, 2 * MANY, 2)]
        expected = {(SOURCE, f"id-{number}"): number for number in range(2, MANY + 1, 2)}
        assert dict(await log.positions(asked)) == expected, "those it holds, at their positions, and no others"
        assert dict(await log.positions([("/other", "id-1"), ("/none", "id-1")])) == {("/other", "id-1"): MANY + 1}
        assert dict(await log.positions([])) == {}


async def entries_are_found_at_their_positions(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        written = [*entries(1, MANY), *awkward_entries(MANY + 1, "user:alice")]
        await log.append(await claimed(log), written)
        assert_equal(await log.entries([entry.position for entry in reversed(written)]), written)
        assert_equal(await log.entries([0, 7, 3, len(written) + 1, 2**53]), [written[2], written[6]])
        assert_equal(await log.entries([]), [])


async def versions_tells_the_last_of_each_stream(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        many = [an_entry(at, subject=f"job/{at}", version=1) for at in range(1, MANY + 1)]
        await log.append(await claimed(log), [*many, *a_stream(MANY + 1, "job/1", [2, 3]), an_entry(MANY + 3)])
        subjects = [f"job/{number}" for number in range(0, MANY + 10)]
        expected = {f"job/{number}": 1 for number in range(1, MANY + 1)} | {"job/1": 3}
        assert dict(await log.versions(subjects)) == expected, "those that have events, with their last versions"
        assert dict(await log.versions([])) == {}


async def read_pages_in_order(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), entries(1, 50, "user:alice"))
        page = await log.read(10, 20)
        assert positions_of(page.entries) == list(range(11, 31)), "the entries above `after`, in order, up to the limit"
        assert page.through == 30, f"a full page is read through its last entry, not {page.through}"
        assert not page.at_head, "30 of 50 is not the end"
        assert page.head.last == 50
        rest = await log.read(30, 100)
        assert positions_of(rest.entries) == list(range(31, 51))
        assert rest.at_head, "a page that is not full reached the end"
        assert positions_of((await log.read(0, 1)).entries) == [1]


async def read_beyond_the_end_finds_nothing(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), entries(1, 5, "user:alice"))
        # The last is the highest position that a cursor can name, whatever the storage's integers.
        for after in (5, 6, 10**18, 9_999_999_999_999_999_999):
            for tags in (None, ["user:alice"]):
                page = await log.read(after, 10, tags)
                assert list(page.entries) == [], f"nothing is above {after}"
                assert page.head.last == 5, "the head tells that such a cursor is ahead of the log"


async def read_of_no_entries_finds_none(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), a_stream(1, "job/1", [1, 2, 3]))
        for page in (await log.read(1, 0), await log.read(1, 0, ["user:alice"])):
            assert (list(page.entries), page.through) == ([], 1), "what was not read is still to be read"
        page = await log.read_stream("job/1", 1, 0)
        assert list(page.entries) == []
        assert not page.at_head


async def read_by_tags_is_the_union_once_in_order(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), _mixed_audiences(60))
        for tags in (["user:alice"], ["user:alice", "topic:a", "everyone"], {"topic:a", "topic:b", "topic:none"}):
            page = await log.read(0, 100, tags)
            assert positions_of(page.entries) == _slice(_mixed_audiences(60), tags), f"the slice of {tags}, once each"
            assert page.through == 60, "a page that is not full is read through the end of the log"
            assert page.at_head


async def read_by_tags_pages_to_the_end(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), _mixed_audiences(90))
        for limit in (1, 2, PAGE, 1000):
            tags = ["user:alice", "topic:b", "everyone"]
            assert await _paged(log, limit, tags) == _slice(_mixed_audiences(90), tags), f"pages of {limit}"


async def a_full_page_is_read_through_its_last_entry(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), [*entries(1, 4, "user:alice"), *entries(5, 6, "user:bob")])
        full = await log.read(0, 4, ["user:alice"])
        assert full.through == 4, f"what follows a full page is not known: through 4, not {full.through}"
        rest = await log.read(full.through, 4, ["user:alice"])
        assert (list(rest.entries), rest.through) == ([], 10), "nothing more for alice up to 10"
        assert rest.at_head


async def a_stream_is_read_in_the_order_of_its_versions(make: LogMaker) -> None:
    ours, others = a_stream(1, "job/1", range(1, 31)), a_stream(31, "job/10", range(1, 31))
    mixed = [replace(entry, position=at) for at, entry in enumerate(_alternating(ours, others), 1)]
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, mixed)
        await log.append(fence, entries(61, 5, "user:alice"))
        found: list[Entry] = []
        while True:
            page = await log.read_stream("job/1", len(found), PAGE)
            found += page.entries
            if page.at_head:
                break
            assert page.through == found[-1].position, "a full page is read through its last entry"
        assert_equal(found, [entry for entry in mixed if entry.subject == "job/1"])
        assert page.through == page.head.last == 65, "at the end, nothing of it is missing up to the head"
        assert positions_of((await log.read_stream("job/2", 0, PAGE)).entries) == [], (
            "another subject has no part in it"
        )
        beyond = await log.read_stream("job/1", 30, PAGE)
        assert (list(beyond.entries), beyond.at_head) == ([], True)


async def reading_a_stream_during_appends_skips_nothing(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log, storage.client() as reader:
        fence = await claimed(log)

        async def write() -> None:
            for at in range(1, RACE_ENTRIES // 4, 2):
                await log.append(fence, [*a_stream(at, "job/1", [at]), *a_stream(at + 1, "job/1", [at + 1])])

        writing = asyncio.create_task(write(), name="writer")
        seen = 0
        while not writing.done() or seen < (await reader.head()).last:
            page = await reader.read_stream("job/1", seen, PAGE)
            versions = [entry.version for entry in page.entries]
            assert versions == list(range(seen + 1, seen + 1 + len(versions))), "versions follow each other"
            seen += len(versions)
            assert not page.at_head or seen == page.head.last, "at the head, everything up to it has been found"
        await writing


async def read_for_nobody_finds_nothing(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), [*entries(1, 5, "user:alice"), *entries(6, 5)])
        for tags in ([], ["user:nobody"], ["user:ALICE"], ["user:alic"], ["user:alice2"], [""]):
            page = await log.read(0, 10, tags)
            assert list(page.entries) == [], f"{tags} see nothing"
            assert page.through == 10, "and that holds up to the end of the log"


async def read_takes_thousands_of_tags(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        written = [an_entry(at, f"topic:{at}", f"user:{at}") for at in range(1, MANY + 1)]
        await log.append(await claimed(log), written)
        tags = [f"topic:{number}" for number in range(2, 2 * MANY, 2)]
        assert await _paged(log, 200, tags) == list(range(2, MANY + 1, 2))


async def read_sees_every_append_that_returned(make: LogMaker) -> None:
    async with make() as storage, storage.client() as writer, storage.client() as reader:
        fence = await claimed(writer)
        for position in range(1, 40):
            await writer.append(fence, [an_entry(position, "user:alice")])
            page = await reader.read(position - 1, 10, ["user:alice"])
            assert positions_of(page.entries) == [position], "what was appended before the call is found"
            assert page.head.last == position


async def reading_during_appends_skips_nothing(make: LogMaker) -> None:
    """A reader that jumps to `through` must have been given everything of its slice below it."""
    async with make() as storage, storage.client() as writer, storage.client() as reader:
        writing = asyncio.create_task(_append_alternately(writer), name="writer")
        try:
            wanted = {"one tag": ["topic:0"], "both": ["topic:0", "topic:1"], "all": None}
            found = await within_deadline(
                asyncio.gather(*(_follow(reader, tags) for tags in wanted.values())), "readers get to the end"
            )
            await writing
        finally:
            writing.cancel()
        everything = list(range(1, RACE_ENTRIES + 1))
        assert found[0] == everything[0::2], "every entry of one tag, in order, once"
        assert found[1] == everything, "every entry of both tags, in order, once"
        assert found[2] == everything, "every entry, in order, once"


async def checkpoints_are_kept_apart_and_never_go_back(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log, storage.client() as other:
        fence = await claimed(log)
        await log.append(fence, entries(1, 9))
        await log.move_checkpoint(fence, "dispatch", 5)
        await log.move_checkpoint(fence, "inbox", 2)
        await log.move_checkpoint(fence, "dispatch", 9)
        await log.move_checkpoint(fence, "dispatch", 7)
        assert await other.checkpoint("dispatch") == 9, "a lower position is ignored"
        assert await other.checkpoint("inbox") == 2, "each follower has a checkpoint of its own"
        assert await other.checkpoint("none") == 0


EVENT_LOG_CHECKS: tuple[LogCheck, ...] = (
    a_new_log_is_empty,
    a_log_id_fits_a_cursor_and_stays,
    every_log_has_its_own_id,
    entries_come_back_equal,
    the_head_is_the_last_append,
    the_log_outlives_its_clients,
    positions_must_follow_the_last,
    a_repeated_append_conflicts,
    an_identity_is_stored_once,
    a_version_is_stored_once_in_its_stream,
    a_stopped_writer_that_wakes_up_stores_nothing,
    each_claim_is_a_higher_epoch,
    a_running_lease_is_respected_without_force,
    an_expired_lease_can_be_claimed,
    an_expired_lease_alone_fences_nobody,
    a_renewed_lease_runs_on,
    racing_writers_leave_no_gap_and_lose_nothing,
    racing_appends_of_one_fence_have_one_winner,
    a_cancelled_append_may_be_repeated,
    positions_tells_what_the_log_holds,
    entries_are_found_at_their_positions,
    versions_tells_the_last_of_each_stream,
    read_pages_in_order,
    read_beyond_the_end_finds_nothing,
    read_of_no_entries_finds_none,
    read_by_tags_is_the_union_once_in_order,
    read_by_tags_pages_to_the_end,
    a_stream_is_read_in_the_order_of_its_versions,
    reading_a_stream_during_appends_skips_nothing,
    a_full_page_is_read_through_its_last_entry,
    read_for_nobody_finds_nothing,
    read_takes_thousands_of_tags,
    read_sees_every_append_that_returned,
    reading_during_appends_skips_nothing,
    checkpoints_are_kept_apart_and_never_go_back,
)


def _alternating(*lists: Sequence[Entry]) -> Iterator[Entry]:
    return chain.from_iterable(zip(*lists, strict=True))


async def check_event_log(make: LogMaker) -> None:
    """Runs every check, one after the other. Raises `AssertionError` at the first broken promise."""
    for check in EVENT_LOG_CHECKS:
        await check(make)


def assert_equal(found: Sequence[Entry], expected: Sequence[Entry]) -> None:
    """Compares field by field, so that a failure names the field and not two screens of bytes."""
    assert positions_of(found) == positions_of(expected), "the same entries in the same order"
    for ours, theirs in zip(expected, found, strict=True):
        for name in (field.name for field in fields(Entry)):
            sent, got = getattr(ours, name), getattr(theirs, name)
            assert (type(sent), sent) == (type(got), got), (
                f"{name} of entry {ours.position}: {str(got)[:80]!r} is not {str(sent)[:80]!r}"
            )


async def claimed(log: EventLog, owner: str = "writer") -> Fence:
    """The fence, taken from whoever had it."""
    fence = await log.claim(owner, LONG_LEASE_S, force=True)
    assert fence is not None, "a claim with force is granted"
    return fence


async def _refused(log: EventLog, fence: Fence, batch: Sequence[Entry]) -> None:
    before = await log.head()
    try:
        await log.append(fence, batch)
    except AppendConflict:
        assert await log.head() == before, "a refused append moves nothing"
        return
    raise AssertionError(f"an append of positions {positions_of(batch)} to {before} must conflict")


async def _fenced(writing: Awaitable[None]) -> None:
    try:
        await writing
    except FenceLost:
        return
    raise AssertionError("a writer whose fence was taken must hear FenceLost")


async def _assert_log(log: EventLog, positions: Collection[int] | None) -> list[Entry]:
    """The log is 1..N without gap or repeat, of these positions where they are known."""
    head = await log.head()
    found = list((await log.read(0, 10_000)).entries)
    assert positions_of(found) == list(range(1, head.last + 1)), "positions are 1..N without gap or repeat"
    assert positions is None or head.last == len(positions), f"the log ends at {len(positions or ())}, not {head.last}"
    assert len({entry.identity for entry in found}) == len(found), "an identity is stored once"
    return found


async def _write_in_turns(log: EventLog, owner: str) -> list[str]:
    """Takes the log by force again and again; the ids whose append was confirmed."""
    confirmed: list[str] = []
    for turn in range(12):
        fence = await claimed(log, owner)
        with suppress(FenceLost):
            for step in range(4):
                batch = [an_entry(fence.last + 1 + 3 * step + n, id=f"{owner}-{turn}-{step}-{n}") for n in range(3)]
                await log.append(fence, batch)
                confirmed += [entry.id for entry in batch]
    return confirmed


async def _cancelled_after(steps: int, writing: Awaitable[None]) -> None:
    """Cancels the call when the event loop has turned `steps` times, unless it is done by then."""
    task = asyncio.ensure_future(writing)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError, CarillonError):
        await task


async def _append_alternately(log: EventLog) -> None:
    fence, position = await claimed(log), 1
    while position <= RACE_ENTRIES:
        size = min(1 + position % 9, RACE_ENTRIES - position + 1)
        await log.append(fence, [an_entry(at, f"topic:{(at + 1) % 2}") for at in range(position, position + size)])
        position += size


async def _follow(log: EventLog, tags: Collection[str] | None) -> list[int]:
    """Reads on from `through` until the race's last position, as a connection does."""
    found: list[int] = []
    through = 0
    while through < RACE_ENTRIES:
        page = await log.read(through, PAGE, tags)
        assert page.through >= through, "a read never goes back"
        found += positions_of(page.entries)
        through = page.through
    return found


async def _paged(log: EventLog, limit: int, tags: Collection[str]) -> list[int]:
    found: list[int] = []
    page = await log.read(0, limit, tags)
    while True:
        assert len(page.entries) <= limit, f"a page of {limit} held {len(page.entries)}"
        found += positions_of(page.entries)
        if page.at_head:
            return found
        page = await log.read(page.through, limit, tags)


def _mixed_audiences(count: int) -> list[Entry]:
    """Audiences that overlap: what several tags see must still come once."""
    audiences = (("user:alice", "topic:a"), ("topic:b",), (), ("everyone",), ("user:alice", "topic:b", "topic:a"))
    return [an_entry(at, *audiences[at % len(audiences)]) for at in range(1, count + 1)]


def _slice(written: Sequence[Entry], tags: Collection[str]) -> list[int]:
    return [entry.position for entry in written if set(tags) & set(entry.audience)]
