"""The intake's consumer: batch -> plan -> one append -> acknowledge."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.persister.batch import Arrived, Known, Plan, dead_letter, parts_of, plan_batch, sort_arrivals
from services.persister.traces import BatchTrace
from shared.model.content import Content
from shared.model.errors import AppendConflict, AppendRejected, FenceLost, InvalidEvent, LogUnavailable, Unavailable
from shared.telemetry import metrics
from shared.telemetry.incidents import Incident

if TYPE_CHECKING:
    from services.persister.tenure import Tenure
    from shared.model.entry import Identity
    from shared.model.settings import Settings
    from shared.ports.broker import Arrival, Broker, Intake
    from shared.ports.event_log import EventLog, Fence

log = logging.getLogger(__name__)

# Enough to fill the next batch while one is being written, and no more than a crash may repeat.
PREFETCH_BATCHES = 3
# Of one append: a storage that takes it takes some tenths of a second. Five hundred events of 250 KiB in one
# transaction once took longer than a backend may, and were tried again and again, with all others behind them.
APPEND_MAX_BYTES = 8 * 1024 * 1024
# An append of unknown outcome explains one, and a second writer another; more in a row explain nothing.
MAX_CONFLICTS = 5
# How soon a backend that did not answer is asked again; jittered, so that standbys do not march in step.
RETRY_S = 0.5


def pause_s() -> float:
    """The wait before the next try."""
    return random.uniform(RETRY_S / 2, RETRY_S * 1.5)


class Writer:
    """Moves what arrives on the intake into the log, for as long as the broker lets it."""

    def __init__(self, broker: Broker, event_log: EventLog, tenure: Tenure, settings: Settings) -> None:
        self._broker, self._log, self._tenure, self._settings = broker, event_log, tenure, settings
        self._intake_trouble, self._append_trouble = Incident(log, "the intake"), Incident(log, "the append")

    async def run(self) -> None:
        """Consumes until cancelled; comes back by itself when the broker does."""
        while True:
            try:
                async with self._broker.intake(self._settings.batch_max_events * PREFETCH_BATCHES) as intake:
                    await self._consume(intake)
            except Unavailable as trouble:
                self._intake_trouble.trouble(trouble)
            except FenceLost:
                # Leaving the intake hands what is unacknowledged, and our place in the queue, to the other.
                log.warning("intake left to the active persister")
            await asyncio.sleep(pause_s())

    async def _consume(self, intake: Intake) -> None:
        size, wait_s = self._settings.batch_max_events, self._settings.batch_max_wait_ms / 1000
        while True:
            arrivals = await intake.batch(size, wait_s)
            for part in parts_of(arrivals, APPEND_MAX_BYTES):
                await self._persist(part)
                await intake.ack(part[-1])
            self._intake_trouble.over()

    async def _persist(self, arrivals: Sequence[Arrival]) -> None:
        """Returns once every arrival is in the log or parked; tries until the log answers.

        Leaving the intake instead would count as a failed delivery of each arrival, and an outage
        of the log would in the end park healthy events.
        """
        found = sort_arrivals(arrivals, self._settings.max_event_bytes)
        trace = BatchTrace(found.events)
        is_fresh = True
        while True:
            try:
                # What we hold for longer may be another's by now: a process that was paused must not
                # take the fence from the one that went on without it.
                fence = await self._tenure.take(force=is_fresh)
                done = await self._append_under(fence, found.events)
                break
            except LogUnavailable as trouble:
                self._append_trouble.trouble(trouble)
                trace.failed(trouble)
                is_fresh = False
                await asyncio.sleep(pause_s())
        self._append_trouble.over()
        trace.done(done)
        for letter in found.dead + done.dead:
            log.warning("dead letter: %s", letter.detail, extra={"reason": letter.reason, **letter.attributes})
            await self._broker.park(letter)
            metrics.dead_letters.labels(letter.reason).inc()

    async def _append_under(self, fence: Fence, events: Sequence[Arrived]) -> Plan:
        try:
            return await self._append(fence, events)
        except FenceLost:
            self._tenure.end(fence, "another persister is active")
            raise
        except LogUnavailable:
            # Whether it was stored is unknown; the next claim learns where the log really ends.
            self._tenure.end(fence, "the log did not answer")
            raise

    async def _append(self, fence: Fence, events: Sequence[Arrived]) -> Plan:
        """Appends what is new of these events; returns what became of them."""
        conflicts = 0
        while events:
            plan = plan_batch(events, await self._known(events), _now())
            try:
                if plan.entries:
                    with metrics.append_seconds.time():
                        await self._log.append(fence, plan.entries)
                    self._tenure.advanced(plan.entries)
                _count(plan)
            except AppendConflict as conflict:
                # An append whose outcome was unknown has taken effect: look again.
                conflicts += 1
                if conflicts == MAX_CONFLICTS:
                    raise LogUnavailable(f"its head and its entries contradict each other: {conflict}") from conflict
                log.info("planning the batch anew: %s", conflict)
                self._tenure.last = (await self._log.head()).last
            except AppendRejected as rejected:
                return await self._append_one_by_one(fence, events, rejected)
            else:
                return plan
        return Plan()

    async def _append_one_by_one(self, fence: Fence, events: Sequence[Arrived], rejected: AppendRejected) -> Plan:
        """Finds the poison in a batch that the storage refuses, so that its neighbours persist."""
        if len(events) == 1:
            refused = InvalidEvent("event", f"the log refuses it ({rejected})", "look at its data", reason="rejected")
            return Plan(dead=[dead_letter(events[0].body, refused, events[0].event)])
        done = Plan()
        for event in events:
            done.include(await self._append(fence, [event]))
        return done

    async def _known(self, events: Sequence[Arrived]) -> Known:
        subjects = {event.subject for event, _ in events if event.subject is not None}
        contents, versions = await asyncio.gather(self._contents(events), self._log.versions(subjects))
        return Known(self._tenure.last, contents, versions)

    async def _contents(self, events: Sequence[Arrived]) -> dict[Identity, Content]:
        """What the log holds of these identities; mostly nothing, or all of them after a crash."""
        positions = await self._log.positions({one.identity for one in events})
        return {entry.identity: Content.of_entry(entry) for entry in await self._log.entries(positions.values())}


def _now() -> datetime:
    """In milliseconds, as the log keeps it: an entry says the same before and after it was stored."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _count(plan: Plan) -> None:
    if plan.entries:
        metrics.events_persisted.inc(len(plan.entries))
        metrics.batch_events.observe(len(plan.entries))
    if plan.duplicates:
        metrics.events_duplicate.labels("persister").inc(len(plan.duplicates))
