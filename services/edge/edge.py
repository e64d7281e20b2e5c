"""The edge: every open connection of this process, and what they share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Coroutine
from typing import Any

from services.edge import frames
from services.edge.connection import Connection
from services.edge.fanout import Fanout
from services.edge.frames import CloseReason
from services.edge.handover import start_after
from services.edge.sessions import Session
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Page
from shared.model.errors import Unavailable
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog

log = logging.getLogger(__name__)

# Backlog queries under way at once: enough to keep the log busy, too few to starve its writer.
CONCURRENT_READS = 16
# Time for the last frames of all streams to leave, once each has been told to end.
DRAIN_GRACE_S = 3.0


class Draining(Unavailable):
    """The process is about to end; another edge has room."""

    def __init__(self) -> None:
        super().__init__("edge", "it is shutting down")


class Edge:
    """Opens connections, and ends them all within the drain."""

    def __init__(self, settings: Settings, broker: Broker, event_log: EventLog) -> None:
        self.settings = settings
        self._log = event_log
        self._log_id = ""
        self._fanout = Fanout(broker, self.encode, self._spawn)
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reads = asyncio.Semaphore(CONCURRENT_READS)
        self._draining = False
        self._empty = asyncio.Event()

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    async def connect(self, session: Session, requested: str | None, heartbeat_s: float) -> Connection:
        """Opens a stream for the session, from the cursor it asks for.

        Raises `Unavailable` when broker or log do not answer, or the edge drains.
        """
        if self._draining:
            raise Draining
        connection = Connection(self, session, session.tags, heartbeat_s)
        self._connections.add(connection)
        try:
            await self._fanout.join(self._scope_of(session), connection)
            # Only a head read after the binding proves that everything above it comes live.
            head = await self._log.head()
            self._learn(head.log_id)
            after, reset = start_after(requested, head)
            connection.begin(after, reset, behind=after < head.last)
        except BaseException:
            connection.end()
            raise
        if self._draining:
            connection.close(CloseReason.DRAIN)
        return connection

    def forget(self, connection: Connection) -> None:
        """Takes an ended connection out."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._fanout.leave(self._scope_of(connection.session), connection)
        if not self._connections:
            self._empty.set()

    async def drain(self) -> None:
        """Ends every stream with its own time to come back, and waits until all have left."""
        self._draining = True
        self._empty.clear()
        for connection in list(self._connections):
            connection.close(CloseReason.DRAIN)
        if self._connections:
            log.info("draining", extra={"connections": len(self._connections)})
            try:
                async with asyncio.timeout(DRAIN_GRACE_S):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("drained, but for readers that do not read", extra={"connections": self.connection_count})
        for task in self._tasks:
            task.cancel()

    async def read(self, after: int, tags: Collection[str]) -> Page:
        """A page of the log, in turn with the other connections. Raises `LogUnavailable`."""
        async with self._reads:
            page = await self._log.read(after, self.settings.backlog_page_events, tags)
        self._learn(page.head.log_id)
        return page

    def encode(self, entry: Entry) -> bytes:
        """The entry's frame."""
        return frames.frame(entry.type, entry.event, self.cursor(entry.position))

    def cursor(self, position: int) -> str:
        """The cursor of a position in the log as this edge knows it."""
        return str(Cursor(self._log_id, position))

    def reconnect_delay_ms(self, reason: CloseReason) -> int:
        """What `retry:` tells a client that is sent away: spread over the drain, so that it is no stampede."""
        spread_ms = self.settings.drain_s * 1000 if reason is CloseReason.DRAIN else 0
        return int(self.settings.retry_ms * random.uniform(0.5, 1.0) + random.uniform(0, spread_ms))

    def _scope_of(self, session: Session) -> str:
        return session.sub if self.settings.routing == "user-queues" else ""

    def _learn(self, log_id: str) -> None:
        if log_id == self._log_id:
            return
        if self._log_id:
            log.warning("the log has been replaced", extra={"log_id": log_id})
            for connection in list(self._connections):
                connection.close(CloseReason.LOG_REPLACED)
        self._log_id = log_id
        self._fanout.forget_frames()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)
