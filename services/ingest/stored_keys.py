"""Keys that the store of producers holds, remembered for moments: each request would ask for them otherwise."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from shared.model.errors import CarillonError
from shared.ports.producers import KeyRecord, ProducerStore

# A key that was looked up so recently counts without another question.
FRESH_S = 1.0
# So long a revoked key may still open the door.
STALE_MAX_S = 4.0
MAX_KEPT = 10_000

Clock = Callable[[], float]

_log = logging.getLogger(__name__)


class StoredKeys:
    """Finds keys by their digests.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, store: ProducerStore, clock: Clock = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._kept: OrderedDict[str, tuple[KeyRecord | None, float]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[KeyRecord | None]] = {}

    async def find(self, digest: str) -> KeyRecord | None:
        """The key as it was at most `STALE_MAX_S` ago; None for an unknown one. Raises `LogUnavailable`."""
        record, looked_at = self._kept.get(digest, (None, float("-inf")))
        age_s = self._clock() - looked_at
        if age_s > FRESH_S:
            asking = self._asking.get(digest) or self._ask(digest)
            if age_s > STALE_MAX_S:
                # One question for all who wait; whoever gives up does not take the answer from the others.
                return await asyncio.shield(asking)
        return record

    def _ask(self, digest: str) -> asyncio.Task[KeyRecord | None]:
        asking = self._asking[digest] = asyncio.create_task(self._look(digest), name="ingest-producer-key")
        asking.add_done_callback(lambda done: self._asked(digest, done))
        return asking

    async def _look(self, digest: str) -> KeyRecord | None:
        asked_at = self._clock()
        record = await self._store.find(digest)
        self._kept[digest] = record, asked_at
        self._kept.move_to_end(digest)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return record

    def _asked(self, digest: str, asking: asyncio.Task[KeyRecord | None]) -> None:
        del self._asking[digest]
        # Perhaps nobody waits for it. An outage is told to whoever comes next.
        failure = None if asking.cancelled() else asking.exception()
        if failure is not None and not isinstance(failure, CarillonError):
            _log.error("a producer's key was not looked up", exc_info=failure)
