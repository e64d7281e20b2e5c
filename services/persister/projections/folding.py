"""One step of a fold: entries into a generation, with what is wrong told apart from what is away."""

from __future__ import annotations

from collections.abc import Sequence

from shared.folds.projection import Fold, Projection
from shared.model.entry import Entry
from shared.model.errors import CarillonError, FoldRejected
from shared.model.read_model import Changes, Reading
from shared.ports.read_models import Failure, Generation, ReadModels

MAX_PROBLEM_CHARS = 500


class FoldBroken(CarillonError):
    """The fold itself failed at some entry of its batch."""


class Stopped(CarillonError):
    """A projection cannot go on beyond one entry. Everything before it is folded."""

    def __init__(self, generation: Generation, failure: Failure) -> None:
        super().__init__(f"stopped at position {failure.position} ({failure.event}): {failure.problem}")
        self.generation, self.failure = generation, failure


async def folded(
    models: ReadModels, projection: Projection, generation: Generation, entries: Sequence[Entry], through: int
) -> Generation:
    """The generation with these entries, which are all between its position and `through`.

    Raises `Stopped` where the fold fails at one of them, `FoldConflict` where somebody else folds it, too.
    """
    try:
        return await _step(models, projection, generation, entries, through)
    except (FoldBroken, FoldRejected):
        return await _one_by_one(models, projection, generation, entries)


async def _step(
    models: ReadModels, projection: Projection, generation: Generation, entries: Sequence[Entry], through: int
) -> Generation:
    found = await models.read_in(generation, _guarded(projection.fold, entries))
    return await models.commit(generation, found.result, through)


async def _one_by_one(
    models: ReadModels, projection: Projection, generation: Generation, entries: Sequence[Entry]
) -> Generation:
    """Finds the entry at which the fold fails."""
    for entry in entries:
        try:
            generation = await _step(models, projection, generation, [entry], entry.position)
        except (FoldBroken, FoldRejected) as broken:
            problem = str(broken)[:MAX_PROBLEM_CHARS]
            failure = Failure(entry.position, f"{entry.source} {entry.id}", problem)
            await models.stop(generation, failure)
            raise Stopped(generation, failure) from broken
    return generation


def _guarded(fold: Fold, entries: Sequence[Entry]) -> Reading[Changes]:
    """Whatever the fold raises is its own failure; what the storage raises never passes through it."""
    try:
        return (yield from fold(entries))
    except Exception as error:
        raise FoldBroken(f"{type(error).__name__}: {error}") from error
