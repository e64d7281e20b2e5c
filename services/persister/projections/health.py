"""What `/readyz` tells of projections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shared.model.errors import Degraded
from shared.ports.read_models import Generation, ReadModels


def stopped_probe(models: ReadModels) -> Callable[[], Awaitable[None]]:
    """A probe that tells of each stopped projection with the position and the event; the rest of the job goes on."""

    async def probe() -> None:
        found = await models.generations()
        if stopped := [generation for generation in found if _is_stopped(generation)]:
            raise Degraded("; ".join(map(_told, stopped)))

    return probe


def _is_stopped(generation: Generation) -> bool:
    return generation.failure is not None and generation.is_in_use


def _told(generation: Generation) -> str:
    failure = generation.failure
    assert failure is not None
    where = f"projection {generation.model.name!r} stopped at position {failure.position} ({failure.event})"
    return f"{where}: {failure.problem}; see: carillon projections ls"
