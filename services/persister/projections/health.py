"""What `/readyz` tells of projections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shared.model.errors import Unavailable
from shared.ports.read_models import ReadModels, Stage


def stopped_probe(models: ReadModels) -> Callable[[], Awaitable[None]]:
    """A probe that fails while a projection is stopped, naming the position and the event."""

    async def probe() -> None:
        for found in await models.generations():
            if found.failure is not None and found.stage in (Stage.CURRENT, Stage.BUILDING):
                failure = found.failure
                where = f"{found.model.name!r} stopped at position {failure.position} ({failure.event})"
                raise Unavailable("projections", f"{where}: {failure.problem}")

    return probe
