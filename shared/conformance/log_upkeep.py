"""Every promise of `shared.ports.log_upkeep.LogUpkeep` as a check, on the log that it keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from shared.conformance import LogMaker
from shared.conformance.event_log import LogCheck, assert_equal, claimed
from shared.conformance.samples import a_stream, an_entry, entries, positions_of
from shared.model.entry import Head, expired
from shared.model.errors import LogNotEmpty
from shared.ports.event_log import EventLog

EVERYTHING = 10_000


async def a_raised_floor_is_where_the_log_begins(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log, storage.client() as other:
        await log.append(await claimed(log), entries(1, 10, "user:alice"))
        assert (await log.upkeep.raise_floor(4)).floor == 4
        assert (await other.head()).floor == 4, "everyone sees the floor"
        assert (await log.upkeep.raise_floor(2)).floor == 4, "the floor only rises"
        assert (await log.upkeep.raise_floor(99)).floor == 10, "the floor lies at the last entry at most"
        assert (await log.head()).last == 10, "the log ends where it did"


async def what_lies_below_the_floor_is_not_read(make: LogMaker) -> None:
    """Also before it is removed: readers must not find a part of it."""
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), entries(1, 10, "user:alice"))
        await log.upkeep.raise_floor(6)
        for tags in (None, ["user:alice"]):
            for after in (0, 3, 6):
                page = await log.read(after, 3, tags)
                assert positions_of(page.entries) == [7, 8, 9], f"a read after {after} begins above the floor"


async def only_what_lies_below_the_floor_is_removed(make: LogMaker) -> None:
    written = entries(1, 10, "user:alice")
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), written)
        assert await log.upkeep.remove(EVERYTHING, EVERYTHING) == 0, "without a floor nothing is removed"
        await log.upkeep.raise_floor(6)
        assert [await log.upkeep.remove(4, 3), await log.upkeep.remove(4, 3)] == [3, 1], "the oldest first"
        assert await log.upkeep.remove(EVERYTHING, EVERYTHING) == 2, "not above the floor"
        for tags in (None, ["user:alice"]):
            page = await log.read(0, EVERYTHING, tags)
            assert_equal(page.entries, written[6:])
            assert (page.through, page.head.floor) == (10, 6)


async def the_log_goes_on_above_what_was_removed(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, entries(1, 3))
        await _trim(log, 3)
        await log.append(fence, entries(4, 2))
        assert positions_of((await log.read(0, EVERYTHING)).entries) == [4, 5]


async def a_stream_keeps_its_version_without_its_entries(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        fence = await claimed(log)
        await log.append(fence, [*a_stream(1, "job/1", [1, 2]), *a_stream(3, "job/2", [1, 2]), an_entry(5)])
        await _trim(log, 3)
        expected = {"job/1": 2, "job/2": 2}
        assert await log.versions(["job/1", "job/2", "job/3"]) == expected, "also where all of its entries are gone"
        assert await log.upkeep.removed_versions("", 10) == {"job/1": 2, "job/2": 1}
        assert await log.upkeep.removed_versions("job/1", 10) == {"job/2": 1}
        assert await log.upkeep.removed_versions("", 1) == {"job/1": 2}
        await log.append(fence, a_stream(6, "job/1", [3]))
        assert (await log.versions(["job/1"])) == {"job/1": 3}


async def a_replaced_entry_is_seen_by_its_new_audience_only(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        before = [*a_stream(1, "job/1", [1, 2]), *entries(3, 1)]
        before = [replace(entry, audience=("user:alice", "user:bob")) for entry in before]
        await log.append(await claimed(log), before)
        hollow, moved = expired(before[0]), replace(before[1], audience=("user:bob", "everyone"))
        await log.upkeep.replace([hollow, moved, an_entry(99, "user:alice")])
        assert_equal((await log.read(0, EVERYTHING)).entries, [hollow, moved, before[2]])
        assert_equal((await log.read(0, EVERYTHING, ["user:alice"])).entries, before[2:])
        assert_equal((await log.read(0, EVERYTHING, ["everyone"])).entries, [moved])
        assert await log.positions([before[0].identity]) == {before[0].identity: 1}, "its identity stays taken"
        await log.upkeep.replace([])


async def trimming_during_reads_and_appends_makes_no_hole(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log, storage.client() as other:
        fence = await claimed(log)
        await log.append(fence, entries(1, 200, "user:alice"))
        reading = asyncio.Lock()

        async def append() -> None:
            for first in range(201, 401, 20):
                await log.append(fence, entries(first, 20, "user:alice"))

        async def trim() -> None:
            for floor in range(20, 201, 20):
                await log.upkeep.raise_floor(floor)
                async with reading:
                    pass  # who read before the floor rose has been answered
                await _trim(log, floor)

        async def read() -> None:
            after = 0
            while after < 400:
                async with reading:
                    page = await other.read(after, 7)
                found = positions_of(page.entries)
                first = max(after, page.head.floor) + 1
                assert found == list(range(found[0] if found else first, page.through + 1)), "no hole"
                after = page.through

        await asyncio.gather(append(), trim(), read())
        assert (await log.head()).last == 400


async def an_empty_log_takes_over_another_ones_place(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.upkeep.restore(Head("copied", 12, 5), {"job/1": 3})
        assert await log.head() == Head("copied", 5, 5)
        assert await log.versions(["job/1", "job/2"]) == {"job/1": 3}
        await log.append(await claimed(log), entries(6, 2))
        assert positions_of((await log.read(0, EVERYTHING)).entries) == [6, 7]


async def a_log_with_a_history_is_not_replaced(make: LogMaker) -> None:
    async with make() as storage, storage.client() as log:
        await log.append(await claimed(log), entries(1, 2))
        await _trim(log, 2)
        before = await log.head()
        try:
            await log.upkeep.restore(Head("copied", 9, 3), {"job/1": 3})
        except LogNotEmpty:
            assert await log.head() == before
            assert await log.versions(["job/1"]) == {}, "nothing of the other log was taken over"
        else:
            raise AssertionError("a log that held entries must not become another one")


LOG_UPKEEP_CHECKS: tuple[LogCheck, ...] = (
    a_raised_floor_is_where_the_log_begins,
    what_lies_below_the_floor_is_not_read,
    only_what_lies_below_the_floor_is_removed,
    the_log_goes_on_above_what_was_removed,
    a_stream_keeps_its_version_without_its_entries,
    a_replaced_entry_is_seen_by_its_new_audience_only,
    trimming_during_reads_and_appends_makes_no_hole,
    an_empty_log_takes_over_another_ones_place,
    a_log_with_a_history_is_not_replaced,
)


async def check_log_upkeep(make: LogMaker) -> None:
    """Runs every check, one after the other. Raises `AssertionError` at the first broken promise."""
    for check in LOG_UPKEEP_CHECKS:
        await check(make)


async def _trim(log: EventLog, through: int) -> None:
    await log.upkeep.raise_floor(through)
    while await log.upkeep.remove(through, 50):
        pass
