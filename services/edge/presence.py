"""Who is connected, as all edges know it together: listed under this process's lease, told as events."""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from services.edge import control
from shared.model.errors import Unavailable
from shared.model.event import Event
from shared.ports.sessions import ConnectionRecord, Places
from shared.telemetry.incidents import Incident

if TYPE_CHECKING:
    from services.edge.connection import Connection
    from shared.ports.broker import Broker
    from shared.ports.sessions import SessionStore

log = logging.getLogger(__name__)

# The list lags by as much; a thousand reconnects are then one write.
FLUSH_EVERY_S = 1.0
# A killed edge's connections are listed for as long; several flushes may fail before it runs out.
LEASE_S = 15.0
ORPHANS_PER_FLUSH = 500
# How far each stream is goes with the lease, in one piece however many there are. Those farthest behind are told
# one by one, some 30 bytes each; of the others no more than what all of them have.
PLACES_EVERY_S = 5.0
MAX_TOLD_BEHIND = 1000
# Presence events waiting for a broker that is away; beyond them the oldest are not told.
MAX_WAITING_EVENTS = 10_000
# One by one, an edge that drains would tell of a few hundred closings before its time is up.
TOLD_AT_ONCE = 200
# A process that ends has its grace period for better things.
GOODBYE_WITHIN_S = 1.0
LOST = "edge-lost"


class Presence:
    """Collects what opens and closes here, and passes it on in the background."""

    def __init__(self, store: SessionStore, broker: Broker, *, tell: bool) -> None:
        self.edge = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._store, self._broker, self._tell = store, broker, tell
        self._here: dict[str, Connection] = {}
        self._opened: dict[str, ConnectionRecord] = {}
        self._term = ""
        self._closed: set[str] = set()
        self._events: deque[Event] = deque(maxlen=MAX_WAITING_EVENTS)
        self._places_due_at = 0.0

    def opened(self, connection: Connection) -> None:
        """Notes a new connection."""
        record = self._record(connection)
        # What was told of the others does not hold for this one, which may have a long way to go.
        self._places_due_at = 0.0
        self._opened[record.id], self._here[record.id] = record, connection
        self._note(control.OPENED, record, None)

    def closed(self, connection: Connection) -> None:
        """Notes the end of a connection."""
        self._here.pop(connection.id, None)
        self._opened.pop(connection.id, None)
        # Also where it was never listed, as far as is known: a call that failed may have listed it.
        self._closed.add(connection.id)
        self._note(control.CLOSED, self._record(connection), connection.closed_because)

    async def run(self) -> None:
        """Passes on what was noted, until cancelled. What a backend did not take waits for the next round."""
        trouble = Incident(log, "the list of connections")
        while True:
            try:
                await self.flush()
                trouble.over()
            except Unavailable as why:
                trouble.trouble(why)
            await asyncio.sleep(FLUSH_EVERY_S)

    async def say_goodbye(self) -> None:
        """The last round, after the drain; the lease covers what it cannot tell any more."""
        try:
            async with asyncio.timeout(GOODBYE_WITHIN_S):
                await self.flush()
        except (Unavailable, TimeoutError) as trouble:
            log.info("presence ends by its lease: %s", trouble)

    async def flush(self) -> None:
        """One round. Raises `Unavailable`."""
        term = await self._store.renew(self.edge, LEASE_S, self._places())
        if term != self._term:
            # We slept through our lease, and were taken for dead: whoever is here is here all the same.
            self._term, self._opened = term, {id_: self._record(each) for id_, each in self._here.items()}
        opened, closed = dict(self._opened), set(self._closed)
        if opened:
            await self._store.opened(opened.values())
            self._opened = {id_: record for id_, record in self._opened.items() if id_ not in opened}
        if closed:
            await self._store.closed(closed)
            self._closed -= closed
        for orphan in await self._store.take_orphans(ORPHANS_PER_FLUSH):
            self._note(control.CLOSED, orphan, LOST)
        await self._publish()

    def _places(self) -> Places | None:
        """How far the streams are, where it is time to tell that again."""
        now = asyncio.get_running_loop().time()
        if now < self._places_due_at:
            return None
        self._places_due_at = now + PLACES_EVERY_S
        return places_of((each.id, each.position) for each in self._here.values())

    async def _publish(self) -> None:
        while told := tuple(islice(self._events, TOLD_AT_ONCE)):
            await self._broker.publish(*told)
            done = {event.id for event in told}
            # Where too many came meanwhile, the oldest are gone already.
            while self._events and self._events[0].id in done:
                self._events.popleft()

    def _note(self, type_: str, record: ConnectionRecord, reason: str | None) -> None:
        if self._tell:
            self._events.append(control.presence(type_, record, reason))

    def _record(self, connection: Connection) -> ConnectionRecord:
        session = connection.session
        return ConnectionRecord(
            id=connection.id,
            edge=self.edge,
            sub=session.sub,
            sid=session.sid,
            opened_at=connection.opened_at.replace(microsecond=connection.opened_at.microsecond // 1000 * 1000),
            address=connection.address,
        )


def places_of(told: Iterable[tuple[str, int | None]]) -> Places | None:
    """Positions by connection, in little space; None where no stream has begun. Pure."""
    known = [(position, id_) for id_, position in told if position is not None]
    if not known:
        return None
    farthest = max(known)[0]
    lowest = heapq.nsmallest(MAX_TOLD_BEHIND + 1, (each for each in known if each[0] < farthest))
    position = lowest[-1][0] if len(lowest) > MAX_TOLD_BEHIND else farthest
    return Places(position, {id_: behind for behind, id_ in lowest[:MAX_TOLD_BEHIND]})
