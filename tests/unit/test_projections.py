"""Followers over the embedded backends: each entry once, whatever stops, restarts or races."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, cast

import pytest

from services.persister.projections import follower
from services.persister.projections.follower import Follower
from services.persister.projections.health import stopped_probe
from services.persister.tenure import Tenure
from shared.conformance.samples import an_entry
from shared.embedded import open_embedded
from shared.folds.projection import Projection
from shared.model.entry import Entry
from shared.model.errors import Degraded, LogUnavailable, ModelMissing
from shared.model.read_model import Changes, Model, Reading, Row, Scan, Table, get, rows
from shared.ports.read_models import Generation, ReadModels, Stage
from shared.wiring import Backends
from tests.eventually import answered

MODEL = Model("totals", 1, (Table("totals", (("count",),)),))
POISON = "poison"


def totals(entries: Sequence[Entry]) -> Reading[Changes]:
    """Counts entries by subject; chokes on a source."""
    known = yield from get("totals", {entry.subject or "" for entry in entries})
    counts = {key: row.body["count"] for key, row in known.items()}
    for entry in entries:
        if entry.source == POISON:
            raise KeyError(entry.id)
        counts[entry.subject or ""] = counts.get(entry.subject or "", 0) + 1
    return {"totals": {key: Row(key, {"count": count}, {"count": count}) for key, count in counts.items()}}


TOTALS = Projection(MODEL, totals)


class Process:
    """What of a persister matters here: a tenure over a log, and followers in it."""

    def __init__(self, backends: Backends) -> None:
        self.log, self.models = backends.event_log, backends.read_models
        self.tenure = Tenure(backends.event_log, backends.broker, "test", 60)
        self._position = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def append(self, *subjects: str, source: str = "/s") -> None:
        fence = await self.tenure.take(force=True)
        first = (await self.log.head()).last + 1
        entries = [replace(an_entry(at, source=source), subject=subject) for at, subject in enumerate(subjects, first)]
        entries = [replace(entry, version=entry.position) for entry in entries]
        await self.log.append(fence, entries)
        self.tenure.advanced(entries)

    def follow(self, projection: Projection) -> asyncio.Task[None]:
        task = asyncio.create_task(Follower(projection, self.log, self.models, self.tenure).run())
        self._tasks.append(task)
        return task

    async def totals(self, name: str = "totals") -> dict[str, int]:
        found = await self.models.read(name, rows(Scan("totals")))
        return {row.key: row.body["count"] for row in found.result}

    async def at_head(self, name: str = "totals") -> None:
        """Returns once the current generation holds all of the log."""

        async def look() -> None:
            found = await self.models.read(name, rows(Scan("totals", limit=0)))
            assert found.generation.position == (await self.log.head()).last

        await answered(look, AssertionError, ModelMissing)

    async def end(self) -> None:
        for task in self._tasks:
            await ended(task)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def process(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    monkeypatch.setattr(follower, "STOPPED_LOOK_EVERY_S", 0.02)
    async with open_embedded(None) as backends:
        made = Process(Backends(*backends))
        try:
            yield made
        finally:
            await made.end()


async def test_what_was_appended_before_and_after_is_folded(process: Process) -> None:
    await process.append("a", "b", "a")
    process.follow(TOTALS)
    await process.at_head()
    assert await process.totals() == {"a": 2, "b": 1}
    await process.append("b", "c")
    await process.at_head()
    assert await process.totals() == {"a": 2, "b": 2, "c": 1}


async def test_a_model_is_not_read_before_it_has_caught_up(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PAGE_ENTRIES", 2)
    await process.append(*"abcdefg")
    seen: set[int] = set()

    async def look() -> None:
        with suppress(ModelMissing):
            seen.update((await process.totals()).values())
            seen.add(len(await process.totals()))

    process.follow(TOTALS)
    while not seen:
        await look()
        await asyncio.sleep(0)
    assert seen == {1, 7}


async def test_random_restarts_and_races_fold_each_entry_once(process: Process) -> None:
    chance = random.Random(5)
    following = [process.follow(TOTALS)]
    expected: dict[str, int] = {}
    for _ in range(40):
        subjects = [chance.choice("abcd") for _ in range(chance.randrange(1, 6))]
        for subject in subjects:
            expected[subject] = expected.get(subject, 0) + 1
        await process.append(*subjects)
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            await ended(following.pop(0)) if following else None
        if len(following) < 3 and chance.random() < 0.6:
            following.append(process.follow(TOTALS))
    following.append(process.follow(TOTALS))
    await process.at_head()
    assert await process.totals() == expected


class SlowModels:
    """Read models that give up on a commit of more than so many rows, as a storage does that takes them too long."""

    def __init__(self, models: ReadModels, most: int) -> None:
        self._models, self._most = models, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)

    async def commit(self, generation: Generation, changes: Changes, through: int) -> Generation:
        if sum(map(len, changes.values())) > self._most:
            raise LogUnavailable("no answer in time")
        return await self._models.commit(generation, changes, through)


async def test_what_a_storage_cannot_take_in_its_time_is_folded_in_smaller_pieces(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows may be large, and the same page was tried again and again."""
    monkeypatch.setattr(follower, "pause_s", lambda: 0.001)
    process.models = cast(ReadModels, SlowModels(process.models, most=7))
    await process.append(*map(str, range(60)))
    process.follow(TOTALS)
    await process.at_head()
    assert len(await process.totals()) == 60


async def test_one_that_fails_stops_alone_and_tells_where(process: Process) -> None:
    others = Projection(replace(MODEL, name="others"), lambda entries: totals([replace(e, source="") for e in entries]))
    probe = stopped_probe(process.models)
    process.follow(TOTALS)
    process.follow(others)
    await process.append("a", "b")
    await process.at_head()
    await process.append("c", source=POISON)
    await process.append("d")
    await process.at_head("others")
    assert await process.totals("others") == {"a": 1, "b": 1, "c": 1, "d": 1}

    async def stopped() -> None:
        with pytest.raises(Degraded, match=r"'totals' stopped at position 3 \(poison id-3\): KeyError: 'id-3'"):
            await probe()

    await answered(stopped, AssertionError, pytest.fail.Exception)
    assert await process.totals() == {"a": 1, "b": 1}, "what came before it is folded and read"


async def test_after_a_repair_it_goes_on_where_it_stopped(process: Process) -> None:
    stopping = process.follow(TOTALS)
    await process.append("a", "b", source="/s")
    await process.append("c", source=POISON)
    await eventually_stopped(process)
    await ended(stopping)
    process.follow(Projection(MODEL, lambda entries: totals([replace(entry, source="/s") for entry in entries])))
    await process.at_head()
    assert await process.totals() == {"a": 1, "b": 1, "c": 1}
    await stopped_probe(process.models)()


async def eventually_stopped(process: Process) -> None:
    async def stopped() -> None:
        assert any(generation.failure for generation in await process.models.generations())

    await answered(stopped, AssertionError)


async def test_a_new_version_is_built_beside_and_swapped(process: Process) -> None:
    old = process.follow(TOTALS)
    await process.append("a", "b", "a")
    await process.at_head()
    await ended(old)
    release = asyncio.Event()

    def doubled(entries: Sequence[Entry]) -> Reading[Changes]:
        if not release.is_set():
            raise KeyError("not yet")
        return (yield from totals([entry for entry in entries for _ in range(2)]))

    stuck = process.follow(Projection(replace(MODEL, version=2), doubled))
    await eventually_stopped(process)
    assert await process.totals() == {"a": 2, "b": 1}, "reads stay with the old one"
    await ended(stuck)
    release.set()
    process.follow(Projection(replace(MODEL, version=2), doubled))

    async def swapped() -> None:
        assert await process.totals() == {"a": 4, "b": 2}

    await answered(swapped, AssertionError)
    assert [g.stage for g in await process.models.generations()] == [Stage.RETIRED, Stage.CURRENT]


async def test_what_is_retired_long_enough_is_dropped(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "RETIRED_FOR_S", 0.01)
    await process.append("a")
    for version in (1, 2):
        task = process.follow(Projection(replace(MODEL, version=version), totals))
        await process.at_head()
        if version == 1:
            await ended(task)

    async def swept() -> None:
        assert [g.model.version for g in await process.models.generations()] == [2]

    await answered(swept, AssertionError)


async def test_a_rebuild_that_was_swapped_behind_its_back_is_followed_on(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event comes that would tell by a conflict, and the rebuild did not see the last one."""
    monkeypatch.setattr(follower, "IDLE_S", 0.02)
    process.follow(TOTALS)
    await process.append("a", "b")
    await process.at_head()
    log_id = (await process.log.head()).log_id
    rebuilt = await process.models.commit(
        await process.models.begin(MODEL, log_id, 0), {"totals": {"a": Row("a", {"count": 1}, {"count": 1})}}, 1
    )
    await process.models.swap(rebuilt)

    async def followed_on() -> None:
        assert await process.totals() == {"a": 1, "b": 1}

    await answered(followed_on, AssertionError)


async def test_another_log_is_folded_anew() -> None:
    async with AsyncExitStack() as stack:
        broker, first_log, *others = await stack.enter_async_context(open_embedded(None))
        _, second_log, *_ = await stack.enter_async_context(open_embedded(None))
        for event_log, subjects in ((first_log, "aab"), (second_log, "c")):
            process = Process(Backends(broker, event_log, *others))
            await process.append(*subjects)
            task = process.follow(TOTALS)
            await process.at_head()
            await ended(task)
        assert await process.totals() == {"c": 1}
