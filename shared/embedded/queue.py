"""The durable queue of published events: commits shared by all who wait, handed out in order."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from shared.embedded.database import Database
from shared.embedded.tail import Row, Tail
from shared.model.errors import BrokerUnavailable
from shared.ports.broker import Arrival

SCHEMA = """
CREATE TABLE IF NOT EXISTS intake (
    receipt INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);
"""

# A commit within these bounds takes milliseconds, so that nobody waits long behind it.
GROUP_MAX_ROWS = 1000
GROUP_MAX_BYTES = 4 * 1024 * 1024
# What publishers may have waiting for the disk; beyond it a publish is refused, to be tried again.
WAITING_MAX_BYTES = 64 * 1024 * 1024
# A consumer that keeps up never leaves this tail; one that does not reads the disk in pages anyway.
TAIL_MAX_BYTES = 16 * 1024 * 1024

_CLOSED = "the embedded broker was closed"


class _Group:
    """Publishes that share one transaction, and so one fsync."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.size_bytes = 0
        self.settled = asyncio.Event()
        self.failure: str | None = _CLOSED

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= GROUP_MAX_ROWS or self.size_bytes >= GROUP_MAX_BYTES

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.size_bytes += len(row[1])


class DurableQueue:
    """Promises.

    - What `put` returned for is on the disk, in the order of the calls, until it is acknowledged.
    - One intake is active, the one opened first; when it closes, the next begins with whatever
      was not acknowledged.
    """

    def __init__(self, database: Database, last: int) -> None:
        """`last` is the highest receipt stored; whatever was handed out before is not known any more."""
        self._database = database
        self._next = last + 1
        self._last = last
        self._acked = 0
        self._handed = 0
        self._ever_handed = last
        self._tail = Tail(last, TAIL_MAX_BYTES)
        self._groups: deque[_Group] = deque()
        self._waiting_bytes = 0
        self._intakes: list[QueueIntake] = []
        self._joined = asyncio.Event()
        self._stirred = asyncio.Event()
        self._closed = False

    async def put(self, *bodies: bytes) -> None:
        """Returns once the bodies are on the disk. Raises `BrokerUnavailable`."""
        for group in dict.fromkeys([self._join(body) for body in bodies]):
            await group.settled.wait()
            if group.failure is not None:
                raise BrokerUnavailable(group.failure)

    async def commit_groups(self) -> None:
        """Stores what publishers wait for, until cancelled; its end, however it comes, is the queue's."""
        try:
            while True:
                while not self._groups:
                    self._joined.clear()
                    await self._joined.wait()
                await self._commit(self._groups.popleft())
        finally:
            self.close()

    def close(self) -> None:
        """Refuses everything from now on, and ends whoever waits; safe to call twice."""
        self._closed = True
        self._stir()
        for group in self._groups:
            group.settled.set()
        self._groups.clear()

    def open_intake(self, prefetch: int) -> QueueIntake:
        """Joins the line of intakes."""
        self.check_open()
        intake = QueueIntake(self, prefetch)
        self._intakes.append(intake)
        return intake

    def close_intake(self, intake: QueueIntake) -> None:
        """Leaves the line; what the active one had not acknowledged is handed out again."""
        if self.is_active(intake):
            self._handed = self._acked
        self._intakes.remove(intake)
        self._stir()

    def is_active(self, intake: QueueIntake) -> bool:
        return bool(self._intakes) and self._intakes[0] is intake

    def check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailable(_CLOSED)

    @property
    def ready_events(self) -> int:
        """How many wait to be handed out; too high only after a publish that failed."""
        return self._last - self._handed

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns when the condition holds, looking again whenever the queue changed."""
        self.check_open()
        while not holds():
            self._stirred.clear()
            await self._stirred.wait()
            self.check_open()

    async def take(self, intake: QueueIntake, limit: int) -> list[Arrival]:
        """The next arrivals, none only after a failed publish. Cancelled, it has taken nothing."""
        rows = self._tail.take(self._handed, limit)
        through = self._last
        if rows is None:
            rows = await self._database.read(partial(_rows, after=self._handed, limit=limit))
            intake.check_open()
        self._handed = rows[-1][0] if rows else max(self._handed, through)
        arrivals = [Arrival(body, receipt, receipt <= self._ever_handed) for receipt, body in rows]
        self._ever_handed = max(self._ever_handed, self._handed)
        return arrivals

    async def ack(self, through: int) -> None:
        """Takes everything at or below this receipt off the disk."""
        await self._database.write(partial(_delete, through=through))
        self._acked = max(self._acked, through)
        self._stir()

    def _join(self, body: bytes) -> _Group:
        self.check_open()
        if self._waiting_bytes + len(body) > WAITING_MAX_BYTES:
            raise BrokerUnavailable(f"publishes of {self._waiting_bytes} bytes wait for the disk already")
        if not self._groups or self._groups[-1].is_full:
            self._groups.append(_Group())
        group = self._groups[-1]
        group.add((self._next, body))
        self._next += 1
        self._waiting_bytes += len(body)
        self._joined.set()
        return group

    async def _commit(self, group: _Group) -> None:
        try:
            await self._database.write(partial(_insert, rows=group.rows))
        except BrokerUnavailable as error:
            # It may have been stored all the same: only the disk knows.
            self._tail.forget(group.rows[-1][0])
            group.failure = error.detail
        else:
            group.failure = None
            self._tail.add(group.rows)
            self._last = group.rows[-1][0]
            self._stir()
        finally:
            self._waiting_bytes -= group.size_bytes
            group.settled.set()

    def _stir(self) -> None:
        self._stirred.set()


class QueueIntake:
    """`shared.ports.broker.Intake`; for one task at a time."""

    def __init__(self, queue: DurableQueue, prefetch: int) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._unacked: deque[int] = deque()
        self._closed = False

    async def batch(self, max_events: int, max_wait_s: float) -> Sequence[Arrival]:
        arrivals: list[Arrival] = []
        while not arrivals:
            await self._queue.until(lambda: self._can_take(1))
            wanted = min(max_events, self._room)
            await self._wait_for(wanted, max_wait_s)
            arrivals = await self._queue.take(self, wanted)
        self._unacked.extend(arrival.receipt for arrival in arrivals)
        return arrivals

    async def ack(self, through: Arrival) -> None:
        self.check_open()
        if not self._queue.is_active(self):
            raise BrokerUnavailable("this intake stands by: it has received nothing to acknowledge")
        await self._queue.ack(through.receipt)
        while self._unacked and self._unacked[0] <= through.receipt:
            self._unacked.popleft()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.close_intake(self)

    def check_open(self) -> None:
        self._queue.check_open()
        if self._closed:
            raise BrokerUnavailable("this intake was closed: open another")

    @property
    def _room(self) -> int:
        return self._prefetch - len(self._unacked)

    def _can_take(self, events: int) -> bool:
        self.check_open()
        return self._queue.is_active(self) and self._room > 0 and self._queue.ready_events >= events

    async def _wait_for(self, events: int, max_wait_s: float) -> None:
        try:
            async with asyncio.timeout(max_wait_s):
                await self._queue.until(lambda: self._can_take(events))
        except TimeoutError:
            return


def last_receipt(db: sqlite3.Connection) -> int:
    """The highest receipt stored; 0 where the queue is empty."""
    return int(db.execute("SELECT coalesce(max(receipt), 0) FROM intake").fetchone()[0])


def _insert(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    db.executemany("INSERT INTO intake (receipt, body) VALUES (?, ?)", rows)


def _rows(db: sqlite3.Connection, after: int, limit: int) -> list[Row]:
    query = "SELECT receipt, body FROM intake WHERE receipt > ? ORDER BY receipt LIMIT ?"
    return db.execute(query, (after, limit)).fetchall()


def _delete(db: sqlite3.Connection, through: int) -> None:
    db.execute("DELETE FROM intake WHERE receipt <= ?", (through,))
