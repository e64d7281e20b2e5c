"""Ended spans on their way to one destination: held within bounds, sent in batches, never waited for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from shared.model.errors import CarillonError
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# A few seconds of a busy process. More would be held only while the destination does not keep up.
QUEUE_MAX_SPANS = 8192
# One insert, one request.
BATCH_MAX_SPANS = 512
# An operator who looks for an event's journey has just published it.
SEND_EVERY_S = 1.0
# A destination that takes longer is slow, and what comes meanwhile may find the queue full.
SEND_WITHIN_S = 5.0
# A process that ends has its grace period for better things.
LAST_WITHIN_S = 1.0
# A destination that is away is one line a minute.
TELL_EVERY_S = 60.0

Send = Callable[[Sequence[ReadableSpan]], Awaitable[None]]


class NotSent(CarillonError):
    """The destination did not take a batch; the message says why."""


class SpanQueue(SpanProcessor):
    """Takes what has ended, and drops and counts what finds no room.

    OpenTelemetry's own BatchSpanProcessor sends from a thread, and so cannot ask a store of ours; and it
    tells of what it drops only in its log.
    """

    def __init__(self, to: str, send: Send) -> None:
        self._to, self._send = to, send
        self._waiting: deque[ReadableSpan] = deque()
        self._stirred = asyncio.Event()
        self._told_at = -TELL_EVERY_S
        # There from the start: a counter that appears with its first drop has no rate yet.
        metrics.spans_sent.labels(to), metrics.spans_dropped.labels(to)

    def on_end(self, span: ReadableSpan) -> None:
        """Called by whatever ended: does next to nothing."""
        if len(self._waiting) >= QUEUE_MAX_SPANS:
            metrics.spans_dropped.labels(self._to).inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH_MAX_SPANS:
            self._stirred.set()

    async def run(self) -> None:
        """Sends what has come, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(SEND_EVERY_S):
                    await self._stirred.wait()
            except TimeoutError:
                pass
            self._stirred.clear()
            await self._send_all()

    async def finish(self) -> None:
        """Sends what is left, within bounds; what is left then is dropped."""
        try:
            async with asyncio.timeout(LAST_WITHIN_S):
                await self._send_all()
        except TimeoutError:
            self._drop(len(self._waiting), "the process ends")
            self._waiting.clear()

    async def _send_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX_SPANS, len(self._waiting)))]
            try:
                async with asyncio.timeout(SEND_WITHIN_S):
                    await self._send(batch)
            except TimeoutError:
                self._drop(len(batch), f"no answer within {SEND_WITHIN_S:g} s")
            except Exception as failed:
                # Whatever it is, it is of this batch: nobody would notice that the others wait for good.
                self._drop(len(batch), str(failed) if isinstance(failed, CarillonError) else repr(failed))
            except asyncio.CancelledError:
                self._drop(len(batch), "the process ends")
                raise
            else:
                metrics.spans_sent.labels(self._to).inc(len(batch))

    def _drop(self, count: int, why: str) -> None:
        metrics.spans_dropped.labels(self._to).inc(count)
        now = asyncio.get_running_loop().time()
        if count and now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning("spans for %s are dropped: %s", self._to, why)
