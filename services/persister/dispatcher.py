"""The dispatch loop: the log, from a checkpoint, to the edges."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.persister.recent import RecentLog
from services.persister.traces import record_dispatch
from services.persister.writer import pause_s
from shared.model.errors import FenceLost, Unavailable
from shared.ports.event_log import DISPATCHED
from shared.telemetry import metrics, tracing
from shared.telemetry.incidents import Incident

if TYPE_CHECKING:
    from services.persister.tenure import Tenure
    from shared.model.entry import Entry
    from shared.ports.broker import Broker
    from shared.ports.event_log import EventLog, Fence

log = logging.getLogger(__name__)

# One read feeds a few windows of confirms; larger pages only delay the first entry in them.
PAGE_ENTRIES = 200
# A crash repeats at most what was dispatched in this time; moving it each page would cost a write a page.
CHECKPOINT_EVERY_S = 0.25
# Quiet streams learn this often how far the log went on without them; with a feed for each of ten
# thousand users this is a thousand small messages a second.
PROGRESS_EVERY_S = 10.0
# The writer wakes the loop; this bound covers a wake-up that never came.
IDLE_S = 1.0


class Dispatcher:
    """Delivers every entry at least once, in order, while this process is active."""

    def __init__(self, broker: Broker, event_log: EventLog, tenure: Tenure) -> None:
        self._broker, self._log, self._tenure = broker, event_log, tenure
        self._recent = RecentLog(event_log, tenure)
        self._trouble = Incident(log, "the dispatch")

    async def run(self) -> None:
        """Follows the log until cancelled; after trouble it begins again at the checkpoint."""
        while True:
            fence = await self._tenure.held()
            try:
                await self._follow(fence)
            except FenceLost:
                self._tenure.end(fence, "another persister is active")
            except Unavailable as trouble:
                self._trouble.trouble(trouble)
                await asyncio.sleep(pause_s())

    async def _follow(self, fence: Fence) -> None:
        position = saved = await self._log.checkpoint(DISPATCHED)
        saved_at = told_at = time.monotonic()
        told = position
        while self._tenure.fence == fence:
            seen = self._tenure.last
            page = await self._recent.read(position, PAGE_ENTRIES)
            if page.entries:
                await self._deliver(page.entries)
                position = page.through
            self._trouble.over()
            if position > saved and time.monotonic() - saved_at >= CHECKPOINT_EVERY_S:
                await self._log.move_checkpoint(fence, DISPATCHED, position)
                saved, saved_at = position, time.monotonic()
            if position > told and time.monotonic() - told_at >= PROGRESS_EVERY_S:
                await self._broker.tell_progress(position)
                told, told_at = position, time.monotonic()
            if page.at_head:
                await self._tenure.appended_since(seen, IDLE_S if position == saved else CHECKPOINT_EVERY_S)

    async def _deliver(self, entries: Sequence[Entry]) -> None:
        traced = [entry for entry in entries if tracing.is_traced(entry.traceparent)]
        began_ns = time.time_ns()
        unheard = await self._broker.deliver(entries, {entry.position for entry in traced})
        _count(entries)
        for entry in traced:
            record_dispatch(entry, began_ns, time.time_ns(), is_unheard=entry.position in unheard)


def _count(entries: Sequence[Entry]) -> None:
    metrics.events_dispatched.inc(len(entries))
    now = datetime.now(UTC)
    for entry in entries:
        metrics.dispatch_seconds.observe(
            (now - entry.appended_at).total_seconds(), tracing.trace_id_of(entry.traceparent)
        )
