"""Folding afresh: to replace a read model, or to compare it with what the log says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from services.persister.projections.folding import folded
from services.persister.writer import pause_s
from shared.folds.projection import Projection
from shared.model.entry import Head
from shared.model.errors import CarillonError, FoldConflict
from shared.model.read_model import Row, Scan, rows
from shared.ports.event_log import EventLog
from shared.ports.read_models import Generation, ReadModels, Stage

# Of any size, within a backend's time.
PAGE_ENTRIES = 200
PAGE_ROWS = 200
# An operator looks at some of them; that there are more is told by the count.
MAX_EXAMPLES = 10
# Somebody else folds the same generation, and is ahead for a moment: the persister that builds it, too.
ATTEMPTS = 20

Told = Callable[[int], None]
"""Told how many entries or rows are done since it was told last."""


class CannotVerify(CarillonError):
    """There is nothing to compare with; the message says why."""


@dataclass(slots=True)
class Comparison:
    """What a read model holds, against a fresh fold."""

    rows: int = 0
    position: int = 0
    different: int = 0
    examples: list[str] = field(default_factory=list)
    """`<table> <key>` of the first that differ."""

    def add(self, table: str, kept: Sequence[Row], fresh: Sequence[Row]) -> None:
        """Compares the same stretch of keys of both."""
        ours, theirs = ({row.key: row for row in some} for some in (kept, fresh))
        self.rows += len(ours)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                self.different += 1
                if len(self.examples) < MAX_EXAMPLES:
                    self.examples.append(f"{table} {key}")


async def rebuilt(event_log: EventLog, models: ReadModels, projection: Projection, told: Told) -> Generation:
    """Folds the log into a generation beside the current one, and swaps; goes on with one that was begun.

    Raises `Stopped` where the fold fails.
    """
    for _ in range(ATTEMPTS):
        head = await event_log.head()
        generation = await models.begin(projection.model, head.log_id, head.floor)
        try:
            generation = await _caught_up(event_log, models, projection, generation, None, told)
            await models.swap(generation)
        except FoldConflict:
            if await _is_current(models, generation):
                return generation
            # Whoever else folds it gets on meanwhile: attempts that follow at once are soon used up.
            await asyncio.sleep(pause_s())
        else:
            return generation
    raise FoldConflict(
        f"somebody else keeps folding {projection.model.name!r}: try again when the persister has built it"
    )


async def _is_current(models: ReadModels, generation: Generation) -> bool:
    """The persister may have swapped it first."""
    found = await models.generations(generation.model.name)
    return any(one.number == generation.number and one.stage is Stage.CURRENT for one in found)


async def verified(event_log: EventLog, models: ReadModels, projection: Projection, told: Told) -> Comparison:
    """Compares the current generation with a fresh fold, page by page, each at one and the same position.

    The generation may move on meanwhile: the fresh one follows. Raises `CannotVerify`, `Stopped`.
    """
    name = projection.model.name
    for left in await models.generations(name):
        if left.stage is Stage.SCRATCH:
            await models.drop(left)
    current = _comparable(await models.generations(name), projection, await event_log.head())
    fresh = await models.begin(projection.model, current.log_id, current.since, scratch=True)
    try:
        fresh = await _caught_up(event_log, models, projection, fresh, current.position, told)
        comparison = Comparison(position=current.position)
        for table in projection.model.tables:
            async for after, page in _pages(models, current, table.name):
                fresh = await _caught_up(event_log, models, projection, fresh, page.position, told)
                last = page.rows[-1].key if len(page.rows) == PAGE_ROWS else None
                comparison.add(table.name, page.rows, await _stretch(models, fresh, table.name, after, last))
                comparison.position = page.position
        return comparison
    finally:
        await models.drop(fresh)


def _comparable(found: Sequence[Generation], projection: Projection, head: Head) -> Generation:
    name = projection.model.name
    current = next((generation for generation in found if generation.stage is Stage.CURRENT), None)
    if current is None:
        raise CannotVerify(f"{name} has not been built yet: start a persister, or rebuild it")
    if current.model != projection.model:
        raise CannotVerify(
            f"{name} is of version {current.model.version}, this program folds {projection.model.version}"
        )
    if current.log_id != head.log_id:
        raise CannotVerify(f"{name} was folded from another log: start a persister, or rebuild it")
    if head.floor > current.since:
        raise CannotVerify(f"{name} holds what the log has forgotten: it begins after {head.floor} now")
    return current


@dataclass(frozen=True, slots=True)
class _Page:
    rows: Sequence[Row]
    position: int


async def _pages(models: ReadModels, generation: Generation, table: str) -> AsyncIterator[tuple[str, _Page]]:
    """(the key that the page begins after, the page), to the end of the table."""
    after = ""
    while True:
        found = await models.read_in(generation, rows(Scan(table, after, PAGE_ROWS)))
        yield after, _Page(found.result, found.generation.position)
        if len(found.result) < PAGE_ROWS:
            return
        after = found.result[-1].key


async def _stretch(
    models: ReadModels, generation: Generation, table: str, after: str, last: str | None
) -> Sequence[Row]:
    """The rows above the key `after`, up to `last` or to the end."""
    found: list[Row] = []
    while True:
        page = (await models.read_in(generation, rows(Scan(table, after, PAGE_ROWS)))).result
        found += [row for row in page if last is None or row.key <= last]
        if len(page) < PAGE_ROWS or (last is not None and page[-1].key >= last):
            return found
        after = page[-1].key


async def _caught_up(
    event_log: EventLog,
    models: ReadModels,
    projection: Projection,
    generation: Generation,
    through: int | None,
    told: Told,
) -> Generation:
    """The generation at position `through`, or at the end of the log."""
    while through is None or generation.position < through:
        limit = PAGE_ENTRIES if through is None else min(PAGE_ENTRIES, through - generation.position)
        page = await event_log.read(generation.position, limit)
        if not page.entries:
            return generation
        done = page.entries[-1].position
        told(done - generation.position)
        generation = await folded(models, projection, generation, page.entries, done)
    return generation
