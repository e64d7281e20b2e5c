"""The durable queue of published events, as one consumer sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiormq.abc import DeliveredMessage

from shared.model.errors import BrokerUnavailable
from shared.ports.broker import Arrival
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import arrival_of
from shared.rabbit.translation import translated


@asynccontextmanager
async def open_intake(link: Link, queue: str, prefetch: int, timeout_s: float) -> AsyncIterator[RabbitIntake]:
    """Consumes on a channel of its own; what was not acknowledged returns to the queue at the end."""
    channel = await link.channel(confirms=False)
    intake = RabbitIntake(channel, timeout_s)
    try:
        with translated():
            async with channel.answering(timeout_s):
                await channel.underlay.basic_qos(prefetch_count=prefetch)
                await channel.underlay.basic_consume(queue, intake.arrived)
        yield intake
    finally:
        await channel.close()


class RabbitIntake:
    """See `shared.ports.broker.Intake`. At most `prefetch` arrivals wait in it."""

    def __init__(self, channel: Channel, timeout_s: float) -> None:
        self._channel = channel.underlay
        self._timeout_s = timeout_s
        self._waiting: deque[Arrival] = deque()
        self._changed = asyncio.Event()
        self._lost: str | None = None
        self._channel.closing.add_done_callback(lambda _: self._lose("its channel was closed"))
        self._channel.on_consumer_cancel_callbacks.add(lambda _: self._lose("the broker cancelled the consumer"))

    async def arrived(self, message: DeliveredMessage) -> None:
        """The driver runs one task a message: whatever awaited here would let the next one overtake."""
        self._waiting.append(arrival_of(message))
        self._changed.set()

    async def batch(self, max_events: int, max_wait_s: float) -> Sequence[Arrival]:
        await self._wait_for(1)
        if len(self._waiting) < max_events:
            try:
                async with asyncio.timeout(max_wait_s):
                    await self._wait_for(max_events)
            except TimeoutError:
                pass
        return [self._waiting.popleft() for _ in range(min(max_events, len(self._waiting)))]

    async def ack(self, through: Arrival) -> None:
        with translated():
            async with asyncio.timeout(self._timeout_s):
                await self._channel.basic_ack(through.receipt, multiple=True, wait=False)

    async def _wait_for(self, events: int) -> None:
        while len(self._waiting) < events:
            if self._lost is not None:
                raise BrokerUnavailable(f"the intake has ended: {self._lost}")
            self._changed.clear()
            await self._changed.wait()
        if self._lost is not None:
            raise BrokerUnavailable(f"the intake has ended: {self._lost}")

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._changed.set()
