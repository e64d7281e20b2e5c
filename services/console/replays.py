"""Replays under way in this process: counted, then run once somebody says so, at most a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from services.console import replay, replay_log
from services.console.acts import Actor
from services.console.replay import Plan
from shared.model.errors import Busy, CarillonError, InvalidInput

if TYPE_CHECKING:
    from shared.ports.broker import Broker
    from shared.ports.event_log import EventLog

# Counting reads the log, running loads the intake: operators are few, and so are these.
MAX_ACTIVE = 4
# Finished ones that can still be looked at.
MAX_KEPT = 20

Work = Callable[["Replay"], Awaitable["Stage"]]
"""What a replay does, and the stage that it is at then. Raises `CarillonError`."""

log = logging.getLogger(__name__)


class Stage(Enum):
    """How far a replay is."""

    COUNTING = "counting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True)
class Replay:
    """One replay, as its page shows it."""

    plan: Plan
    by: Actor
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    stage: Stage = Stage.COUNTING
    done: int = 0
    problem: str | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_active(self) -> bool:
        return self.stage in (Stage.COUNTING, Stage.RUNNING)

    @property
    def can_run(self) -> bool:
        """Whether it may begin, or go on where it ended."""
        rest = self.done < len(self.plan.positions)
        return rest and not self.plan.is_cut and self.stage in (Stage.READY, Stage.STOPPED, Stage.FAILED)


class Replays:
    """All replays of this process; they end with it, and what was published stays."""

    def __init__(self, event_log: EventLog, broker: Broker, max_event_bytes: int) -> None:
        self._log, self._broker, self._max_bytes = event_log, broker, max_event_bytes
        self._known: dict[str, Replay] = {}

    @property
    def known(self) -> Mapping[str, Replay]:
        """By run, the oldest first."""
        return self._known

    def plan(self, plan: Plan, by: Actor) -> Replay:
        """Begins to count. Raises `Busy`."""
        self._refuse_many()
        for run in [run for run, each in self._known.items() if not each.is_active][
            : max(0, len(self._known) - MAX_KEPT + 1)
        ]:
            del self._known[run]
        made = self._known[plan.run] = Replay(plan, by)
        self._start(made, self._counted)
        return made

    async def run(self, chosen: Replay, by: Actor) -> None:
        """Begins to publish, or goes on. Raises `Busy`, `InvalidInput`."""
        if not chosen.can_run:
            raise InvalidInput("run", f"it is {chosen.stage.value}", "look at its page again")
        self._refuse_many()
        # Before anything waits: a second click must find it running.
        before, chosen.stage, chosen.by = chosen.stage, Stage.RUNNING, by
        try:
            await replay.announce(self._broker, by, chosen.plan)
        except BaseException:
            chosen.stage = before
            raise
        self._start(chosen, self._published)

    async def stop(self, chosen: Replay, by: Actor) -> None:
        """Ends it where it is. Raises `InvalidInput`."""
        if chosen.stage is not Stage.RUNNING or chosen.task is None:
            raise InvalidInput("run", f"it is {chosen.stage.value}", "only one that runs can be stopped")
        about = {"run": chosen.plan.run, "published": chosen.done}
        await replay_log.tell(self._broker, by, replay_log.STOPPED, about)
        chosen.task.cancel()

    async def close(self) -> None:
        """Ends all of them, and tells of those that ran."""
        tasks = [each.task for each in self._known.values() if each.task is not None]
        running = [each for each in self._known.values() if each.stage is Stage.RUNNING]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._tell_end(each, Stage.STOPPED) for each in running))

    def _refuse_many(self) -> None:
        if sum(each.is_active for each in self._known.values()) >= MAX_ACTIVE:
            raise Busy("as many replays are under way as this console takes")

    def _start(self, chosen: Replay, work: Work) -> None:
        chosen.problem = None
        chosen.task = asyncio.create_task(self._told(chosen, work), name=f"replay {chosen.plan.run}")

    async def _counted(self, chosen: Replay) -> Stage:
        await replay.count(self._log, chosen.plan, self._max_bytes)
        return Stage.READY

    async def _published(self, chosen: Replay) -> Stage:
        def tell(done: int) -> None:
            chosen.done = done

        await replay.publish(self._log, self._broker, chosen.plan, tell, chosen.done)
        return Stage.DONE

    async def _told(self, chosen: Replay, work: Work) -> None:
        """Does the work; how it ended is told in the log, and then the replay's stage."""
        is_run = chosen.stage is Stage.RUNNING
        try:
            stage, chosen.problem = await _ended(chosen, work)
            if is_run:
                await self._tell_end(chosen, stage)
            chosen.stage = stage
        except asyncio.CancelledError:
            chosen.stage = Stage.STOPPED
            raise

    async def _tell_end(self, chosen: Replay, stage: Stage) -> None:
        told = (chosen.plan.run, chosen.done, stage.value, chosen.problem)
        await replay_log.tell_end(self._broker, chosen.by, *told)


async def _ended(chosen: Replay, work: Work) -> tuple[Stage, str | None]:
    """(where the work came to, what was wrong)"""
    try:
        return await work(chosen), None
    except CarillonError as failed:
        return Stage.FAILED, str(failed)
    except Exception as bug:
        log.exception("replay %s ended", chosen.plan.run)
        return Stage.FAILED, repr(bug)
