"""An outbox: what happens at the same time is told in one order, and nobody waits for the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from examples.events import Event, Publisher

# While Carillon is away, so many events wait in memory; then whoever tells waits for room.
MAX_WAITING = 1000


class Outbox:
    """Publishes one event after the other: the next begins when the one before is confirmed.

    Publishing side by side would be faster, and their order in the stream would be anybody's guess.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MAX_WAITING)

    async def tell(self, event: Event) -> None:
        """Returns at once unless very many wait."""
        await self._waiting.put(event)

    async def send_all(self) -> None:
        """Returns once everything told so far is published."""
        await self._waiting.join()

    async def run(self) -> None:
        """Publishes until cancelled. Raises `NotPublished`."""
        while True:
            event = await self._waiting.get()
            await self._publisher.publish(event)
            self._waiting.task_done()


@asynccontextmanager
async def open_outbox(publisher: Publisher) -> AsyncIterator[Outbox]:
    """Everything told inside is published when it is left, however that comes; what cannot be published ends it."""
    outbox = Outbox(publisher)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(outbox.run(), name="outbox")
        try:
            yield outbox
        finally:
            sent = asyncio.create_task(outbox.send_all(), name="outbox: the rest")
            await asyncio.wait([sent, running], return_when=asyncio.FIRST_COMPLETED)
            sent.cancel()
            running.cancel()
