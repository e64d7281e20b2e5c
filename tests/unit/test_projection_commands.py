"""`carillon projections`, on a log that grows meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli import commands
from services.persister.projections import rebuilding
from services.persister.projections.folding import Stopped
from services.persister.projections.rebuilding import CannotVerify, Comparison, rebuilt, verified
from shared.conformance.samples import an_entry
from shared.embedded import MODELS_FILE
from shared.embedded.event_log import open_event_log
from shared.embedded.read_models import open_read_models
from shared.folds.projection import Projection
from shared.folds.streams import MODEL, STREAMS, TABLE, Stream, fold
from shared.model.entry import Entry
from shared.ports.event_log import EventLog
from shared.ports.read_models import Generation, ReadModels, Stage


def entries(first: int, count: int, subjects: int = 7) -> list[Entry]:
    """Progress of a few jobs, in turns."""
    return [
        replace(
            an_entry(at, "user:alice", subject=f"job/{at % subjects}", version=at),
            event=json.dumps({"specversion": "1.0", "data": {"progress": at % 100, f"k{at % 5}": at}}).encode(),
        )
        for at in range(first, first + count)
    ]


async def append(log: EventLog, count: int) -> None:
    fence = await log.claim("test", 60, force=True)
    assert fence is not None
    await log.append(fence, entries((await log.head()).last + 1, count))


@asynccontextmanager
async def storages(folder: Path) -> AsyncIterator[tuple[EventLog, ReadModels]]:
    async with open_event_log(folder / "log.db") as log, open_read_models(folder / MODELS_FILE) as models:
        yield log, models


async def current(models: ReadModels) -> Generation:
    (found,) = [one for one in await models.generations("streams") if one.stage is Stage.CURRENT]
    return found


async def tampered(models: ReadModels, key: str, stream: Stream | None) -> None:
    at = await current(models)
    await models.commit(at, {TABLE: {key: None if stream is None else stream.row()}}, at.position)


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["projections", *arguments, "--data", str(folder)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with storages(tmp_path) as (log, _):
            await append(log, 100)

    asyncio.run(fill())
    return tmp_path


def test_what_was_never_begun_is_told(folder: Path) -> None:
    assert "streams: not begun" in run(folder, "ls").stdout
    assert "has not been built yet" in run(folder, "verify", "streams").stderr


def test_rebuilding_in_three_commands(folder: Path) -> None:
    assert "would fold 100 entries, positions 1 to 100" in run(folder, "rebuild", "streams", "--dry-run").stdout
    assert json.loads(run(folder, "ls", "--json").stdout or "null") is None, "a dry run begins nothing"
    built = run(folder, "rebuild", "streams")
    assert "streams: generation 1 is current, at 100" in built.stdout
    assert "100%" in built.stderr or "folding" in built.stderr
    (told,) = map(json.loads, run(folder, "ls", "--json").stdout.splitlines())
    assert (told["stage"], told["position"], told["lag"], told["failure"]) == ("current", 100, 0, None)
    same = run(folder, "verify", "streams")
    assert (same.exit_code, same.stdout) == (0, "streams: 7 rows equal a fresh fold of the log up to 100\n")


def test_rows_that_differ_are_named(folder: Path) -> None:
    run(folder, "rebuild", "streams")

    async def tamper() -> None:
        async with storages(folder) as (_, models):
            await tampered(models, "job/3", Stream("job/3", {"progress": 1}))
            await tampered(models, "job/4", None)
            await tampered(models, "job/new", Stream("job/new"))

    asyncio.run(tamper())
    found = run(folder, "verify", "streams", "--json")
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert told["examples"] == ["streams job/3", "streams job/4", "streams job/new"]
    assert not told["equal"]
    run(folder, "rebuild", "streams")
    assert run(folder, "verify", "streams").exit_code == 0


def test_the_order_to_forget_is_asked_for(folder: Path) -> None:
    async def trim() -> None:
        async with storages(folder) as (log, _):
            await log.upkeep.raise_floor(40)
            await log.upkeep.remove(40, 1000)

    run(folder, "rebuild", "streams")
    asyncio.run(trim())
    assert "it begins after 40 now" in run(folder, "verify", "streams").stderr
    asked = run(folder, "rebuild", "streams")
    assert asked.exit_code != 0
    assert "the log begins at 41" in asked.stderr
    assert run(folder, "rebuild", "streams", "--yes").exit_code == 0
    assert run(folder, "verify", "streams").exit_code == 0, "it was folded from there"


@pytest.mark.parametrize("arguments", [("rebuild",), ("rebuild", "no-such"), ("verify", "no-such")])
def test_wrong_usage(folder: Path, arguments: tuple[str, ...]) -> None:
    assert run(folder, *arguments).exit_code == 2


def nothing(_: int) -> None:
    """Nobody watches."""


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "PAGE_ENTRIES", 3)
    monkeypatch.setattr(rebuilding, "PAGE_ROWS", 2)


@pytest.mark.usefixtures("small_pages")
async def test_verify_follows_what_goes_on_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with storages(tmp_path) as (log, models):
        await append(log, 30)
        await rebuilt(log, models, STREAMS, nothing)
        read_in = models.read_in

        async def after_growing(generation: Generation, reading: Any) -> Any:
            """As if the persister had folded one more event before each look."""
            if generation.stage is Stage.CURRENT:
                await append(log, 1)
                at = await current(models)
                page = await log.read(at.position, 100)
                await models.commit(at, (await read_in(at, fold(page.entries))).result, page.through)
            return await read_in(generation, reading)

        monkeypatch.setattr(models, "read_in", after_growing)
        found = await verified(log, models, STREAMS, nothing)
        assert (found.different, found.rows) == (0, 7)
        assert found.position > 30
        assert [one.stage for one in await models.generations()] == [Stage.CURRENT], "nothing is left behind"


@pytest.mark.usefixtures("small_pages")
async def test_a_rebuild_cut_short_goes_on(tmp_path: Path) -> None:
    async with storages(tmp_path) as (log, models):
        await append(log, 30)
        folded = 0

        def cut(count: int) -> None:
            nonlocal folded
            folded += count
            if folded > 15:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await rebuilt(log, models, STREAMS, cut)
        told: list[int] = []
        await rebuilt(log, models, STREAMS, told.append)
        assert sum(told) == 15
        assert (await verified(log, models, STREAMS, nothing)).different == 0


@pytest.mark.usefixtures("small_pages")
async def test_a_rebuild_beside_the_persister_that_builds_it(tmp_path: Path) -> None:
    async with storages(tmp_path) as (log, models):
        await append(log, 60)
        await asyncio.gather(*(rebuilt(log, models, STREAMS, nothing) for _ in range(3)))
        found = await verified(log, models, STREAMS, nothing)
        assert (found.different, found.rows) == (0, 7)


async def test_a_fold_that_fails_is_told(tmp_path: Path) -> None:
    def broken(_: object) -> None:
        raise KeyError("x")

    async with storages(tmp_path) as (log, models):
        await append(log, 3)
        with pytest.raises(Stopped, match=r"stopped at position 1 \(/conformance id-1\)"):
            await rebuilt(log, models, Projection(MODEL, broken), nothing)  # type: ignore[arg-type]  # it never returns


async def test_another_version_cannot_be_compared(tmp_path: Path) -> None:
    async with storages(tmp_path) as (log, models):
        await append(log, 3)
        await rebuilt(log, models, STREAMS, nothing)
        with pytest.raises(CannotVerify, match=f"version {MODEL.version}, this program folds {MODEL.version + 1}"):
            await verified(log, models, Projection(replace(MODEL, version=MODEL.version + 1), fold), nothing)


def test_a_comparison_counts_all_and_names_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "MAX_EXAMPLES", 2)
    found = Comparison()
    ours, theirs = ([Stream(key).row() for key in keys] for keys in ("abc", "cdef"))
    found.add("t", ours, theirs)
    assert (found.different, found.examples, found.rows) == (5, ["t a", "t b"], 3)
