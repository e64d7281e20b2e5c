"""Who is the active persister.

The broker's single active consumer says who should be; the log's fence says who is. A process
becomes active when the broker hands it something to append, or when the lease of the active one
has run out: without the second, what a crashed persister had appended and acknowledged, but not
dispatched, would wait for the next event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from services.persister.recent import Recent
from shared.model.entry import Entry
from shared.model.errors import FenceLost, Unavailable
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog, Fence
from shared.telemetry import metrics
from shared.telemetry.incidents import Incident

log = logging.getLogger(__name__)


class Tenure:
    """The time during which this process holds the fence, and how far it has appended."""

    def __init__(self, event_log: EventLog, broker: Broker, owner: str, lease_s: float) -> None:
        self._log, self._broker, self._owner, self._lease_s = event_log, broker, owner, lease_s
        self._trouble = Incident(log, "the lease")
        self._claiming = asyncio.Lock()
        self._began = asyncio.Event()
        self.fence: Fence | None = None
        self.last = 0
        """Where the log ends, as far as this process knows."""
        self.recent = Recent()
        self._appended = asyncio.Event()
        metrics.is_active_persister.told_by(self, lambda tenure: tenure.fence is not None)

    async def take(self, *, force: bool) -> Fence:
        """The fence; with `force` claimed from whoever has it: the broker has just made us the active consumer.

        Raises `FenceLost` where another's lease runs and `force` is False.
        """
        async with self._claiming:
            if self.fence is None:
                self._begin(await self._log.claim(self._owner, self._lease_s, force=force))
        if self.fence is None:
            raise FenceLost("another persister is active")
        return self.fence

    async def held(self) -> Fence:
        """Waits until this process is active."""
        while self.fence is None:
            await self._began.wait()
        return self.fence

    def end(self, fence: Fence, why: str) -> None:
        """Forgets a fence that no longer holds, or about which nothing is certain."""
        if self.fence == fence:
            self.fence = None
            self._began.clear()
            log.warning("no longer the active persister: %s", why, extra={"epoch": fence.epoch})

    def advanced(self, entries: Sequence[Entry]) -> None:
        """Tells that the log now ends with these entries, which were appended under this fence."""
        self.recent.add(entries)
        self.last = entries[-1].position
        # Everybody who waits now is woken; who begins to wait later compares with `last` first.
        appended, self._appended = self._appended, asyncio.Event()
        appended.set()

    async def appended_since(self, seen: int, at_most_s: float) -> None:
        """Waits until the log ends elsewhere than at `seen`, a former `last`; no longer than `at_most_s`.

        Whoever notes `last` before it reads the log, and finds nothing there, misses no append.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                while self.last == seen:
                    await self._appended.wait()

    async def keep(self) -> None:
        """Renews the lease while active, and claims the fence once nobody's lease runs. Never returns."""
        while True:
            try:
                # Who cannot reach the broker cannot dispatch, and must not keep others from it.
                await self._broker.ping()
                await self._keep_once()
                self._trouble.over()
            except Unavailable as trouble:
                self._trouble.trouble(trouble)
            await asyncio.sleep(self._lease_s / 3)

    async def _keep_once(self) -> None:
        fence = self.fence
        if fence is None:
            async with self._claiming:
                if self.fence is None:
                    self._begin(await self._log.claim(self._owner, self._lease_s, force=False))
            return
        try:
            await self._log.renew(fence, self._lease_s)
        except FenceLost:
            self.end(fence, "another persister is active")

    def _begin(self, fence: Fence | None) -> None:
        if fence is not None:
            self.fence, self.last = fence, fence.last
            # What others have appended meanwhile is not in it.
            self.recent.forget()
            self._began.set()
            log.info("active persister", extra={"epoch": fence.epoch, "last": fence.last})
