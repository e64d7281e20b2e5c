"""Every promise of `shared.ports.read_models.ReadModels` as a check."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from shared.conformance import ReadModelsMaker
from shared.conformance.waiting import within_deadline
from shared.model.errors import CarillonError, FoldConflict, FoldRejected, ModelMissing
from shared.model.read_model import (
    Changes,
    Index,
    Model,
    Range,
    Reading,
    Row,
    Scan,
    Table,
    Value,
    count,
    get,
    rows,
)
from shared.ports.read_models import Failure, Generation, ReadModels, Stage

ReadModelsCheck = Callable[[ReadModelsMaker], Awaitable[None]]

LOG = "log1"
BY_TAG: Index = ("tags", "at")
BY_TAG_AND_STATUS: Index = ("tags", "status", "at")
BY_TIME: Index = ("at",)
BY_NAME: Index = ("status", "name")
MODEL = Model("checks", 1, (Table("items", (BY_TAG, BY_TAG_AND_STATUS, BY_TIME, BY_NAME)), Table("users")))
NEXT_MODEL = replace(MODEL, version=2)
# Folds that race for one position.
RACERS = 8
# Of the check that compares with a plain dictionary.
ROUNDS, KEYS = 12, 60
# More than an adapter merges at once.
MANY_TAGS = 400


async def nothing_is_there_at_first(make: ReadModelsMaker) -> None:
    async with make() as storage, storage.client() as models:
        assert list(await models.generations()) == [], "nothing was folded yet"
        assert list(await models.retired(0)) == []
        await _raises(ModelMissing, models.read("checks", get("items", ["a"])), "what was never built is missing")


async def rows_and_position_are_stored_together(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        begun = await one.begin(MODEL, LOG, 3)
        assert (begun.position, begun.since, begun.stage, begun.model) == (3, 3, Stage.BUILDING, MODEL)
        folded = await one.commit(begun, _changes(_item("a"), _item("b")), 7)
        assert folded.position == 7
        found = await two.read_in(begun, get("items", ["a", "b", "c"]))
        assert found.generation == folded, "a reading tells how far its rows go"
        assert found.result == {"a": _item("a"), "b": _item("b")}
        again = await two.commit(folded, {"items": {"a": None, "b": _item("b", at=9)}, "users": {"a": _item("a")}}, 8)
        found = await one.read_in(again, get("items", ["a", "b"]))
        assert (found.result, found.generation.position) == ({"b": _item("b", at=9)}, 8), "a row may go, or change"
        assert (await one.read_in(again, get("users", ["a"]))).result == {"a": _item("a")}, "tables are apart"
        assert (await one.commit(again, {}, 20)).position == 20, "a position moves also without changes"


async def rows_come_back_equal(make: ReadModelsMaker) -> None:
    bodies: list[dict[str, object]] = [
        {},
        {"$set": {"a.b": 1, "": [None, True, 1.5, 10**30, "é\u0000\U0001f514"]}},
        {"deep": {"er": {"list": [[{}], []]}}},
        {"long": "x" * 200_000},
    ]
    fields: list[dict[str, Value | tuple[Value, ...] | None]] = [
        {"tags": ("user:ünï|c$ø.d", "topic:$x.y", "topic:日本"), "at": 2**62, "status": ""},
        {"at": -5, "other": "kept, though no index holds it"},
        {"tags": (), "at": 0},
        {"tags": "one", "at": 1, "status": None},
    ]
    sent = [Row(f"$key.{n}/ä b", body, of) for n, (body, of) in enumerate(zip(bodies, fields, strict=True))]
    async with _two(make) as (one, two):
        folded = await one.commit(await one.begin(MODEL, LOG, 0), _changes(*sent), 1)
        found = (await two.read_in(folded, get("items", [row.key for row in sent]))).result
        assert [found[row.key] for row in sent] == sent, "a row says the same to everyone"


async def what_was_folded_outlives_its_clients(make: ReadModelsMaker) -> None:
    async with make() as storage:
        async with storage.client() as models:
            folded = await _current(models, MODEL, _changes(_item("a")), 5)
        async with storage.client() as models:
            found = await models.read("checks", get("items", ["a"]))
            assert (found.generation, found.result) == (folded, {"a": _item("a")})


async def a_commit_needs_the_position_it_names(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        begun = await one.begin(MODEL, LOG, 0)
        folded = await one.commit(begun, _changes(_item("a", at=1)), 1)
        await _raises(FoldConflict, two.commit(begun, _changes(_item("a", at=2)), 1), "the entry was folded before")
        await _raises(FoldConflict, two.commit(begun, {}, 0), "whatever it would store")
        ahead = replace(folded, position=5)
        await _raises(FoldConflict, two.commit(ahead, _changes(_item("a", at=2)), 6), "entries would be left out")
        found = await two.read_in(begun, get("items", ["a"]))
        assert (found.result, found.generation.position) == ({"a": _item("a", at=1)}, 1), "nothing of it was stored"


async def of_racing_folds_each_entry_counts_once(make: ReadModelsMaker) -> None:
    """Each follower adds one to a number at each position, as two active persisters would."""
    async with _two(make) as (one, two):
        begun = await one.begin(MODEL, LOG, 0)

        async def follow(models: ReadModels) -> None:
            while True:
                found = await models.read_in(begun, get("users", ["sum"]))
                at = found.generation.position
                if at >= 10:
                    return
                total = found.result["sum"].body["total"] if found.result else 0
                with suppress(FoldConflict):
                    await models.commit(found.generation, {"users": {"sum": Row("sum", {"total": total + 1})}}, at + 1)

        racing = asyncio.gather(*(follow(models) for models in (one, two) for _ in range(RACERS // 2)))
        await within_deadline(racing, "whoever loses a race asks anew, and goes on")
        found = await one.read_in(begun, get("users", ["sum"]))
        assert found.result["sum"].body == {"total": 10}, "an entry was folded twice, or not at all"


async def a_cancelled_commit_is_whole_or_not_at_all(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        at = await one.begin(MODEL, LOG, 0)
        for steps in range(20):
            items = [_item(f"k{n}", at=at.position + 1) for n in range(20)]
            task = asyncio.ensure_future(one.commit(at, _changes(*items), at.position + 1))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError, CarillonError):
                await task
            # Whoever commits next learns how the cancelled one ended.
            with suppress(FoldConflict):
                await one.commit(at, {"users": {"other": Row("other", {})}, "items": {}}, at.position + 1)
            found = await two.read_in(at, rows(Scan("items")))
            positions = {row.fields["at"] for row in found.result}
            assert len(positions) <= 1, "a reading found half of a commit"
            assert positions <= set(range(found.generation.position + 1)), "rows are ahead of their position"
            at = found.generation


async def a_refused_row_leaves_nothing(make: ReadModelsMaker) -> None:
    refused = [Row("b", {"no": object()}), Row("b", {}, {"at": 2**70}), Row("b", {}, {"status": "\ud800"})]
    async with _two(make) as (one, two):
        begun = await one.begin(MODEL, LOG, 0)
        for row in refused:
            await _raises(FoldRejected, one.commit(begun, _changes(_item("a"), row), 1), f"{row} cannot be stored")
        found = await two.read_in(begun, rows(Scan("items")))
        assert (found.result, found.generation.position) == ([], 0)
        await one.commit(begun, _changes(_item("a")), 1)


async def a_generation_is_begun_once(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        begun = await asyncio.gather(*(models.begin(MODEL, LOG, 0) for _ in range(RACERS) for models in (one, two)))
        assert len({generation.number for generation in begun}) == 1, "racing callers share what is being built"
        others = [await one.begin(NEXT_MODEL, LOG, 0), await two.begin(MODEL, "log2", 0)]
        scratch = [await models.begin(MODEL, LOG, 0, scratch=True) for models in (one, two)]
        assert {generation.stage for generation in scratch} == {Stage.SCRATCH}
        numbers = [generation.number for generation in (begun[0], *others, *scratch)]
        assert len(set(numbers)) == 5, "another version, log or purpose is another generation"
        assert [found.number for found in await one.generations()] == sorted(numbers)
        assert list(await one.generations("other")) == []


async def the_current_generation_is_swapped_whole(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        old = await _current(one, MODEL, _changes(_item("a")), 5)
        new = await two.commit(await two.begin(NEXT_MODEL, LOG, 0), _changes(_item("b")), 4)
        await _raises(ModelMissing, one.read("other", get("items", ["a"])), "models are told apart by name")
        assert (await one.read("checks", rows(Scan("items")))).result == [_item("a")], "until the swap"
        await two.swap(new)
        found = await one.read("checks", rows(Scan("items")))
        assert (found.result, found.generation.number) == ([_item("b")], new.number)
        assert (await one.read_in(old, rows(Scan("items")))).result == [_item("a")], "who still reads it may"
        await _raises(FoldConflict, one.commit(old, {}, 6), "nobody folds what is retired")
        await _raises(FoldConflict, two.swap(new), "a second swap finds nothing that is being built")
        await _raises(FoldConflict, two.swap(old), "nor does one back")
        await _raises(FoldConflict, one.drop(new), "the current one is not dropped")
        stages = {generation.number: generation.stage for generation in await one.generations("checks")}
        assert stages == {old.number: Stage.RETIRED, new.number: Stage.CURRENT}


async def readers_find_one_current_generation_during_swaps(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        await _current(one, MODEL, _changes(_item("a", at=0)), 1)
        swapping = True

        async def read() -> None:
            last = 0
            while swapping:
                found = await two.read("checks", get("items", ["a"]))
                (row,) = found.result.values()
                assert row.fields["at"] == found.generation.model.version - 1, "rows of another generation"
                assert found.generation.number >= last, "an older one came back"
                last = found.generation.number

        reading = asyncio.create_task(read(), name="reader")
        for version in range(2, 8):
            await _current(one, replace(MODEL, version=version), _changes(_item("a", at=version - 1)), version)
        swapping = False
        await within_deadline(reading, "readers go on")


async def what_is_retired_or_scratch_is_dropped(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, two):
        old = await _current(one, MODEL, _changes(_item("a")), 5)
        await _current(one, NEXT_MODEL, {}, 5)
        assert list(await two.retired(300)) == [], "somebody may be reading it"
        assert [generation.number for generation in await two.retired(0)] == [old.number]
        scratch = await one.begin(MODEL, LOG, 0, scratch=True)
        await _raises(FoldConflict, one.swap(scratch), "scratch is never current")
        for gone in (old, scratch):
            await one.drop(gone)
            await two.drop(gone)
            await _raises(FoldConflict, two.read_in(gone, get("items", ["a"])), "it was dropped")
            await _raises(FoldConflict, two.commit(gone, {}, 9), "it was dropped")
            await _raises(FoldConflict, two.stop(gone, Failure(6, "/s x", "y")), "it was dropped")
        assert [generation.stage for generation in await one.generations()] == [Stage.CURRENT]
        number = (await one.begin(replace(MODEL, version=3), LOG, 0)).number
        assert number > scratch.number, "a number is never used again"


async def why_a_fold_stopped_is_told_until_it_goes_on(make: ReadModelsMaker) -> None:
    failure = Failure(6, "/shop order-7 ünï", "KeyError: 'total'")
    async with _two(make) as (one, two):
        at = await _current(one, MODEL, {}, 5)
        await one.stop(at, failure)
        assert [found.failure for found in await two.generations()] == [failure]
        assert (await two.read("checks", get("items", ["a"]))).generation.failure == failure, "it is still read"
        on = await two.commit(at, {}, 6)
        assert on.failure is None
        assert [found.failure for found in await one.generations()] == [None]
        await _raises(FoldConflict, one.stop(at, failure), "somebody went on from there")


async def an_index_finds_what_its_rows_say(make: ReadModelsMaker) -> None:
    """Random rows come, change and go; every range, count and scan is compared with a plain dictionary."""
    chance = random.Random(7)
    kept: dict[str, Row] = {}
    async with _two(make) as (one, two):
        at = await one.begin(MODEL, LOG, 0)
        for turn in range(ROUNDS):
            changes = _random_changes(chance, turn)
            kept |= {key: row for key, row in changes.items() if row is not None}
            kept = {key: row for key, row in kept.items() if changes.get(key, row) is not None}
            at = await one.commit(at, {"items": changes}, at.position + 1)
            for _ in range(8):
                wanted = _random_range(chance)
                found = (await two.read_in(at, _all_of(wanted))).result
                expected = _expected(kept.values(), wanted)
                assert found == (expected[: wanted.limit], min(len(expected), wanted.limit)), f"{wanted}"
        scanned: list[Row] = []
        while page := (await two.read_in(at, rows(Scan("items", scanned[-1].key if scanned else "", 7)))).result:
            scanned += page
        assert scanned == sorted(kept.values(), key=lambda row: row.key), "a scan is all rows in the order of keys"


async def a_row_of_many_values_is_found_once(make: ReadModelsMaker) -> None:
    tags = [f"topic:{number}" for number in range(MANY_TAGS)]
    items = [_item(f"k{n:03}", at=n, tags=(tags[n], tags[n // 2], "everyone")) for n in range(MANY_TAGS)]
    async with _two(make) as (one, two):
        at = await one.commit(await one.begin(MODEL, LOG, 0), _changes(*items), 1)
        wanted = Range("items", BY_TAG, {"tags": [*tags, "everyone"]}, above=99, descending=True, limit=50)
        found, number = (await two.read_in(at, _all_of(wanted))).result
        assert found == items[:-51:-1], "merged in order over all tags"
        assert number == 50
        found, number = (await two.read_in(at, _all_of(replace(wanted, limit=1000)))).result
        assert (found, number) == (items[:99:-1], MANY_TAGS - 100)


async def paging_is_complete(make: ReadModelsMaker) -> None:
    items = [_item(f"k{n:02}", at=n, tags=("a", "b") if n % 3 else ("b",), status="done") for n in range(40)]
    async with _two(make) as (one, two):
        at = await one.commit(await one.begin(MODEL, LOG, 0), _changes(*items), 1)
        for descending in (False, True):
            seen: list[Row] = []
            wanted = Range("items", BY_TAG_AND_STATUS, {"tags": ["a", "b"], "status": "done"}, limit=7)
            wanted = replace(wanted, descending=descending)
            while page := (await two.read_in(at, rows(wanted))).result:
                seen += page
                last = seen[-1].fields["at"]
                assert isinstance(last, int)
                wanted = replace(wanted, below=last) if descending else replace(wanted, above=last)
            assert seen == (items[::-1] if descending else items)


async def what_is_not_declared_is_missing(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, _):
        await _current(one, MODEL, {}, 1)
        asked: list[Reading[object]] = [get("others", ["a"]), rows(Range("items", ("status", "at"), {"status": "x"}))]
        for reading in [*asked, rows(Scan("others"))]:
            await _raises(ModelMissing, one.read("checks", reading), "a newer reader waits for the newer generation")


async def bounds_beyond_all_numbers_are_bounds(make: ReadModelsMaker) -> None:
    async with _two(make) as (one, _):
        await _current(one, MODEL, _changes(_item("a")), 1)
        for beyond in (10**30, 2**63 - 1):
            assert (await one.read("checks", rows(Range("items", BY_TIME, above=beyond)))).result == []
            found = await one.read("checks", rows(Range("items", BY_TIME, above=-beyond, below=beyond)))
            assert found.result == [_item("a")]


READ_MODELS_CHECKS: tuple[ReadModelsCheck, ...] = (
    nothing_is_there_at_first,
    rows_and_position_are_stored_together,
    rows_come_back_equal,
    what_was_folded_outlives_its_clients,
    a_commit_needs_the_position_it_names,
    of_racing_folds_each_entry_counts_once,
    a_cancelled_commit_is_whole_or_not_at_all,
    a_refused_row_leaves_nothing,
    a_generation_is_begun_once,
    the_current_generation_is_swapped_whole,
    readers_find_one_current_generation_during_swaps,
    what_is_retired_or_scratch_is_dropped,
    why_a_fold_stopped_is_told_until_it_goes_on,
    an_index_finds_what_its_rows_say,
    a_row_of_many_values_is_found_once,
    paging_is_complete,
    what_is_not_declared_is_missing,
    bounds_beyond_all_numbers_are_bounds,
)


async def check_read_models(make: ReadModelsMaker) -> None:
    """Runs every check, one after the other. Raises `AssertionError` at the first broken promise."""
    for check in READ_MODELS_CHECKS:
        await check(make)


@asynccontextmanager
async def _two(make: ReadModelsMaker) -> AsyncIterator[tuple[ReadModels, ReadModels]]:
    """Two clients of fresh read models, as a persister and an edge have."""
    async with make() as storage, storage.client() as one, storage.client() as two:
        yield one, two


async def _raises(kind: type[Exception], calling: Awaitable[object], why: str) -> None:
    try:
        await calling
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised: {why}")


async def _current(models: ReadModels, model: Model, changes: Changes, through: int) -> Generation:
    """A generation of one commit, made current."""
    folded = await models.commit(await models.begin(model, LOG, 0), changes, through)
    await models.swap(folded)
    return replace(folded, stage=Stage.CURRENT)


def _item(key: str, *, at: int = 1, tags: Sequence[str] = ("user:alice",), status: str | None = None) -> Row:
    return Row(key, {"at": at, "name": key}, {"tags": tuple(tags), "at": at, "status": status})


def _changes(*items: Row) -> Changes:
    return {"items": {row.key: row for row in items}}


def _all_of(wanted: Range) -> Reading[tuple[Sequence[Row], int]]:
    found = yield from rows(wanted)
    return found, (yield from count(wanted, wanted.limit))


def _random_changes(chance: random.Random, turn: int) -> Mapping[str, Row | None]:
    keys = chance.sample(range(KEYS), 15)
    return {f"k{key:02}": None if chance.random() < 0.2 else _random_row(chance, key, turn) for key in keys}


def _random_row(chance: random.Random, key: int, turn: int) -> Row:
    tags = tuple(chance.sample("abcdef", chance.randrange(5)))
    # Unique, as a model that pages makes it.
    at = turn * KEYS + key
    status = chance.choice(["done", "failed", None])
    name = f"{key % 5}-{turn}-{key}"
    return Row(f"k{key:02}", {"turn": turn}, {"tags": tags, "at": at, "status": status, "name": name})


def _random_range(chance: random.Random) -> Range:
    index = chance.choice([BY_TAG, BY_TAG_AND_STATUS, BY_TIME, BY_NAME])
    equal: dict[str, Value | Sequence[Value]] = {}
    if "tags" in index:
        equal["tags"] = chance.sample("abcdef", chance.randrange(1, 5))
    if "status" in index:
        equal["status"] = chance.choice(["done", ["done", "failed"], ["done", "done"]])
    numbers = [chance.choice([None, chance.randrange(ROUNDS * KEYS)]) for _ in range(2)]
    bounds: list[Value | None] = [str(number % 5) if number else None for number in numbers]
    above, below = bounds if index == BY_NAME else numbers
    limit = chance.choice([1, 5, 1000])
    return Range("items", index, equal, above, below, chance.random() < 0.5, limit)


def _expected(kept: Iterable[Row], wanted: Range) -> Sequence[Row]:
    """What the port promises, said as plainly as possible."""

    def order(row: Row) -> tuple[Any, str]:
        return row.fields[wanted.index[-1]], row.key

    def is_in(row: Row) -> bool:
        for *equal, last in row.places(wanted.index):
            place: Any = last
            matches = all(value in wanted.values(name) for name, value in zip(wanted.index, equal, strict=False))
            above = wanted.above is None or wanted.above < place
            below = wanted.below is None or place < wanted.below
            if matches and above and below:
                return True
        return False

    return sorted(filter(is_in, kept), key=order, reverse=wanted.descending)
