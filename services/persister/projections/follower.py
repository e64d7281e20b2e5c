"""A projection's loop: the log, from the generation's position, into its rows."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from services.persister.projections.folding import Stopped, folded
from services.persister.recent import RecentLog
from services.persister.writer import pause_s
from shared.model.errors import FoldConflict, Unavailable
from shared.ports.read_models import Failure, Generation, Stage
from shared.telemetry.incidents import Incident

if TYPE_CHECKING:
    from services.persister.tenure import Tenure
    from shared.folds.projection import Projection
    from shared.model.entry import Head
    from shared.ports.event_log import EventLog, Fence
    from shared.ports.read_models import ReadModels

log = logging.getLogger(__name__)

# One read and one commit: large enough that the commit's round trips do not count. Where a storage does not
# answer in time, half as many are tried next: entries, or the rows that they change, may be large.
PAGE_ENTRIES = 500
GROWN_BY = 10
# A commit costs the same for one entry as for fifty: what comes sooner after one waits for company.
COMMIT_EVERY_S = 0.02
# The writer wakes the loop; this bound covers a wake-up that never came.
IDLE_S = 1.0
# Longer than any reading takes that began before its generation was retired.
RETIRED_FOR_S = 60.0
# A stopped projection looks so often whether an operator has rebuilt it.
STOPPED_LOOK_EVERY_S = 5.0


class Follower:
    """Folds every entry effectively once, in order, while this process is active.

    With a current generation of another version, or of another log, it builds one beside it, and
    swaps when that has caught up.
    """

    def __init__(self, projection: Projection, event_log: EventLog, models: ReadModels, tenure: Tenure) -> None:
        self._projection, self._model = projection, projection.model
        self._log, self._models, self._tenure = event_log, models, tenure
        self._recent = RecentLog(event_log, tenure)
        self._trouble = Incident(log, f"projection {projection.model.name}")
        self._swept_at = -RETIRED_FOR_S
        self._at_once = PAGE_ENTRIES

    async def run(self) -> None:
        """Follows the log until cancelled; after trouble it begins again where the generation is."""
        while True:
            fence = await self._tenure.held()
            try:
                await self._follow(fence)
            except Stopped as stopped:
                log.critical("projection %s %s", self._model.name, stopped, exc_info=stopped.__cause__)
                await self._wait_for_help(stopped.failure)
            except FoldConflict as conflict:
                log.info("projection begins anew: %s", conflict)
            except Unavailable as trouble:
                self._at_once = max(1, self._at_once // 2)
                self._trouble.trouble(trouble)
            await asyncio.sleep(pause_s())

    async def _follow(self, fence: Fence) -> None:
        generation = await self._generation(await self._log.head())
        while self._tenure.fence == fence:
            seen, began_at = self._tenure.last, time.monotonic()
            page = await self._recent.read(generation.position, self._at_once)
            if page.head.log_id != generation.log_id:
                raise FoldConflict("the log has been replaced")
            await self._check_floor(generation, page.head)
            if page.entries:
                generation = await folded(self._models, self._projection, generation, page.entries, page.through)
                self._at_once = min(PAGE_ENTRIES, self._at_once + GROWN_BY)
            if page.at_head and generation.stage is Stage.BUILDING:
                generation = await self._swapped(generation)
            await self._sweep()
            self._trouble.over()
            if page.at_head:
                await self._tenure.appended_since(seen, IDLE_S)
                await asyncio.sleep(began_at + COMMIT_EVERY_S - time.monotonic())
            if not page.entries:
                await self._check_stage(generation)

    async def _generation(self, head: Head) -> Generation:
        """The one to fold into: the current one, or one that is to become it."""
        for found in await self._models.generations(self._model.name):
            if (found.stage, found.model, found.log_id) == (Stage.CURRENT, self._model, head.log_id):
                return found
        begun = await self._models.begin(self._model, head.log_id, head.floor)
        log.info("building a read model", extra={"model": self._model.name, "version": self._model.version})
        return begun

    async def _swapped(self, generation: Generation) -> Generation:
        await self._models.swap(generation)
        log.info("read model built", extra={"model": self._model.name, "version": self._model.version})
        for other in await self._models.generations(self._model.name):
            if other.stage is Stage.BUILDING and other.model.version <= self._model.version:
                # Nobody goes on with it: it is of an older version, or of a log that is gone.
                await self._models.drop(other)
        return replace(generation, stage=Stage.CURRENT)

    async def _check_stage(self, generation: Generation) -> None:
        """A commit would tell that an operator's rebuild has taken this one's place; a quiet log brings none."""
        for found in await self._models.generations(self._model.name):
            if found.number == generation.number and found.stage is generation.stage:
                return
        raise FoldConflict(f"another generation of {self._model.name!r} is the current one")

    async def _check_floor(self, generation: Generation, head: Head) -> None:
        """Retention must not take what was not folded yet."""
        if generation.position >= head.floor:
            return
        if generation.stage is Stage.BUILDING:
            await self._models.drop(generation)
            raise FoldConflict("the log was trimmed under a read model that is being built")
        problem = f"the log begins after {head.floor}: rebuild with carillon projections rebuild {self._model.name}"
        failure = Failure(generation.position + 1, "trimmed", problem)
        await self._models.stop(generation, failure)
        raise Stopped(generation, failure)

    async def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < RETIRED_FOR_S:
            return
        self._swept_at = time.monotonic()
        for retired in await self._models.retired(RETIRED_FOR_S):
            await self._models.drop(retired)

    async def _wait_for_help(self, failure: Failure) -> None:
        """Returns when the projection is no longer stopped there: an operator has rebuilt it."""
        while True:
            await asyncio.sleep(STOPPED_LOOK_EVERY_S)
            try:
                found = await self._models.generations(self._model.name)
            except Unavailable:
                continue
            if not any(generation.failure == failure for generation in found if generation.stage is not Stage.RETIRED):
                return
