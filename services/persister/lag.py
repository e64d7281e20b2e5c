"""How far dispatch and projections are behind the log, and the log behind what was published."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from shared.model.errors import NotReady, Unavailable
from shared.ports.event_log import DISPATCHED
from shared.ports.read_models import Stage
from shared.telemetry import metrics

if TYPE_CHECKING:
    from shared.model.entry import Head
    from shared.ports.broker import Waiting
    from shared.ports.event_log import EventLog
    from shared.wiring import Backends

Answer = TypeVar("Answer")

# A few small questions to the backends; Prometheus and readiness probes ask about every ten seconds.
LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Behind:
    """A follower of the log: how many entries are ahead of it, and for how long the next of them."""

    events: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found; times of the monotonic clock."""

    waiting: Waiting
    last: int
    moved_at: float
    """When the log last grew, or nothing waited to be appended."""
    dispatch: Behind
    projections: Mapping[str, Behind]
    stopped: Mapping[str, bool]
    """Whether a projection cannot go on: with its current generation, or with one that it builds."""


class Lag:
    """Looks every few seconds, also while another persister is active: what it tells is of the platform."""

    def __init__(self, backends: Backends, limit_s: float) -> None:
        self._broker, self._log, self._models = backends.broker, backends.event_log, backends.read_models
        self._limit_s = limit_s
        self.last_look: Look | None = None
        """None before the first, and while a backend does not answer."""
        metrics.log_last_position.told_by(self, _asked(lambda look: look.last))
        metrics.intake_waiting.told_by(self, _asked(lambda look: look.waiting.intake))
        metrics.dead_letters_waiting.told_by(self, _asked(lambda look: look.waiting.dead))
        metrics.dispatch_lag_events.told_by(self, _asked(lambda look: look.dispatch.events))
        metrics.dispatch_lag_seconds.told_by(self, _asked(lambda look: look.dispatch.seconds))
        metrics.projection_lag_events.told_by(self, _asked_each(lambda look: look.projections, _events))
        metrics.projection_lag_seconds.told_by(self, _asked_each(lambda look: look.projections, _seconds))
        metrics.projection_stopped.told_by(self, _asked_each(lambda look: look.stopped, float))

    async def run(self) -> None:
        """Looks until cancelled; what a backend did not answer keeps its last value."""
        while True:
            try:
                await self.look()
            except Unavailable:
                # Probes and metrics of the backends themselves say so.
                self.last_look = None
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look. Raises `Unavailable`."""
        waiting, head = await self._broker.waiting(), await self._log.head()
        in_use = [each for each in await self._models.generations() if each.is_in_use]
        current = {each.model.name: each for each in in_use if each.stage is Stage.CURRENT}
        self.last_look = Look(
            waiting,
            head.last,
            _moved_at(self.last_look, waiting, head, time.monotonic()),
            await behind(self._log, head, await self._log.checkpoint(DISPATCHED)),
            {name: await behind(self._log, head, each.position) for name, each in current.items()},
            {each.model.name: False for each in in_use} | {each.model.name: True for each in in_use if each.failure},
        )

    async def probe(self) -> None:
        """Raises `NotReady`, saying what is behind, where that is more than it may be."""
        if self.last_look is not None and (
            problems := list(_problems(self.last_look, self._limit_s, time.monotonic()))
        ):
            raise NotReady("; ".join(problems))


async def behind(event_log: EventLog, head: Head, position: int) -> Behind:
    """How far a follower at this position is behind the log. Raises `LogUnavailable`."""
    if position >= head.last:
        return Behind()
    page = await event_log.read(position, 1)
    oldest = page.entries[0].appended_at if page.entries else datetime.now(UTC)
    return Behind(head.last - position, max(0.0, (datetime.now(UTC) - oldest).total_seconds()))


def _asked(question: Callable[[Look], float]) -> Callable[[Lag], float | None]:
    """For metrics: the answer of the last look, where there is one."""
    return lambda lag: None if lag.last_look is None else question(lag.last_look)


def _asked_each(
    question: Callable[[Look], Mapping[str, Answer]], number: Callable[[Answer], float]
) -> Callable[[Lag], Mapping[str, float]]:
    """The same, for each projection."""

    def ask(lag: Lag) -> Mapping[str, float]:
        return {name: number(each) for name, each in question(lag.last_look).items()} if lag.last_look else {}

    return ask


def _events(late: Behind) -> float:
    return late.events


def _seconds(late: Behind) -> float:
    return late.seconds


def _moved_at(before: Look | None, waiting: Waiting, head: Head, now_s: float) -> float:
    """An intake that is never empty under load is no lag as long as the log grows."""
    return before.moved_at if before is not None and waiting.intake and head.last == before.last else now_s


def _problems(look: Look, limit_s: float, now_s: float) -> Iterator[str]:
    followers = {"dispatch": look.dispatch, **{f"projection {name}": each for name, each in look.projections.items()}}
    for name, late in followers.items():
        if late.seconds > limit_s:
            yield f"{name} is {late.events:,} events and {late.seconds:.0f} s behind the log"
    stuck_s = now_s - look.moved_at
    if look.waiting.intake and stuck_s > limit_s:
        yield f"{look.waiting.intake:,} published events wait, and none was appended for {stuck_s:.0f} s"
