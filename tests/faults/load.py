"""The bounded load that runs while something is killed, and the outage of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from infra.local.servers import MongoServer, RabbitServer
from tests.eventually import eventually
from tests.harness.platform import Platform
from tests.harness.publisher import Audiences, Publisher
from tests.harness.reader import Readers

RATE_PER_S = 200.0
USERS = 20
# Until the load is seen to move again after whatever was done to the platform.
MOVES_WITHIN_S = 120.0


@dataclass
class Load:
    """Publishers at a steady rate, and readers of all that they publish."""

    publisher: Publisher
    readers: Readers

    async def moves(self, events: int, within_s: float = MOVES_WITHIN_S) -> None:
        """Returns once so many more publishes have been confirmed."""
        goal = len(self.publisher.confirmed) + events
        await self.readers.until(lambda: len(self.publisher.confirmed) >= goal, within_s, f"{events} more confirmed")

    async def arrives(self, events: int, within_s: float = MOVES_WITHIN_S) -> None:
        """Returns once the readers together have received so many more events."""
        goal = self.received + events
        await self.readers.until(lambda: self.received >= goal, within_s, f"{events} more received")

    @property
    def received(self) -> int:
        """Deliveries to all readers so far."""
        return sum(len(reader.reading.deliveries) for reader in self.readers.all)

    @property
    def connections(self) -> int:
        """Streams that have begun so far: it rises when one was dropped and came back."""
        return sum(reader.connections for reader in self.readers.all)


@asynccontextmanager
async def under_load(platform: Platform, users: int = USERS) -> AsyncIterator[Load]:
    """About 200 events a second to `users` users, each with a reader; checks every promise, and folds, at the end."""
    audiences = Audiences(users, notifying=True)
    async with platform.publisher() as publisher, platform.readers() as readers:
        await readers.open_all(audiences.users, audiences.topics)
        load = Load(publisher, readers)
        async with publisher.load(RATE_PER_S, audiences):
            try:
                await load.arrives(users)
                yield load
            except Exception as stuck:
                stuck.add_note(
                    f"{len(publisher.confirmed)} confirmed, {load.received} received; {await platform.whereabouts()}"
                )
                raise
        await platform.keeps_its_promises(publisher, readers)
    await platform.folds_are_true()


async def on_disk(rabbitmq: RabbitServer, queue: str) -> None:
    """Returns once the broker would still know this quorum queue after a kill.

    It writes the name of a new one to disk a second after it declared it, and confirms publishes
    meanwhile. Killed in that second, RabbitMQ 3.10 comes back with an empty queue that never elects
    a leader: neither publish nor consume ever ends (see rabbitmq-server issue 15725). Nothing that
    a client does can help, so no test may kill a broker whose queues are younger.
    """

    def is_named() -> bool:
        return any(queue.encode() in names.read_bytes() for names in rabbitmq.folder.rglob("names.dets"))

    await eventually(is_named)


class Outage:
    """A server that a test may kill and bring back."""

    def __init__(self, server: RabbitServer | MongoServer) -> None:
        self._server = server
        self.is_on = False

    async def begin(self) -> None:
        """SIGKILL."""
        self.is_on = True
        await asyncio.to_thread(self._server.kill)

    async def end(self) -> None:
        """Starts it on the same port and files; returns when it answers."""
        await asyncio.to_thread(self._server.start)
        self.is_on = False
