"""The broker within this process: a durable intake and dead letters on SQLite, feeds in memory."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from shared.embedded import queue
from shared.embedded.database import Database, open_database
from shared.embedded.feeds import MemoryFeed, OnEntry, OnLost, OnProgress, Routes
from shared.embedded.queue import DurableQueue, QueueIntake
from shared.embedded.rpc import Calls
from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable
from shared.model.event import Event
from shared.ports.broker import DeadLetter, RpcAnswer, Waiting

SCHEMA = (
    queue.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS dead (
    -- Never used again: whoever looks at an old page must not settle another letter.
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    attributes TEXT NOT NULL
);
"""
)

# Of a dead letter's id: SQLite's integers have no more.
MAX_DIGITS = 18

_log = logging.getLogger(__name__)


class SqliteBroker:
    """`shared.ports.broker.Broker` for one process."""

    def __init__(self, database: Database, intake_queue: DurableQueue) -> None:
        self._database = database
        self._queue = intake_queue
        self._routes = Routes()
        self._calls = Calls()

    async def publish(self, *events: Event) -> None:
        await self._queue.put(*(event.to_json() for event in events))

    async def publish_raw(self, body: bytes, content_type: str) -> None:
        # No intake asks for the type: the persister judges the bytes themselves.
        await self._queue.put(body)

    @asynccontextmanager
    async def intake(self, prefetch: int) -> AsyncIterator[QueueIntake]:
        opened = self._queue.open_intake(prefetch)
        try:
            yield opened
        finally:
            opened.close()

    async def park(self, letter: DeadLetter) -> None:
        row = (letter.body, letter.reason, letter.detail, json.dumps(dict(letter.attributes)))

        def transaction(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO dead (body, reason, detail, attributes) VALUES (?, ?, ?, ?)", row)

        self._queue.check_open()
        await self._database.write(transaction)

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        def transaction(db: sqlite3.Connection) -> list[DeadLetter]:
            query = "SELECT body, reason, detail, attributes, number FROM dead ORDER BY number LIMIT ?"
            rows = db.execute(query, (limit,))
            return [DeadLetter(body, why, told, json.loads(extra), str(at)) for body, why, told, extra, at in rows]

        self._queue.check_open()
        return await self._database.read(transaction)

    async def requeue_dead(self, ids: Collection[str], bodies: Mapping[str, bytes] | None = None) -> Collection[str]:
        def transaction(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
            query = "SELECT number, body FROM dead WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number"
            return db.execute(query, (_numbers(ids),)).fetchall()

        self._queue.check_open()
        found = {str(number): body for number, body in await self._database.read(transaction)}
        await self._queue.put(*(found | {id_: body for id_, body in (bodies or {}).items() if id_ in found}).values())
        return await self.drop_dead(found.keys())

    async def drop_dead(self, ids: Collection[str]) -> Collection[str]:
        def transaction(db: sqlite3.Connection) -> list[str]:
            query = "DELETE FROM dead WHERE number IN (SELECT value FROM json_each(?)) RETURNING number"
            return [str(number) for (number,) in db.execute(query, (_numbers(ids),)).fetchall()]

        self._queue.check_open()
        return await self._database.write(transaction)

    async def deliver(self, entries: Sequence[Entry], watched: Collection[int] = ()) -> Collection[int]:
        self._queue.check_open()
        unheard = self._routes.deliver(entries)
        return unheard.intersection(watched)

    async def tell_progress(self, position: int) -> None:
        self._queue.check_open()
        self._routes.tell_progress(position)

    async def open_feed(self, on_entry: OnEntry, on_lost: OnLost, on_progress: OnProgress | None = None) -> MemoryFeed:
        self._queue.check_open()
        return self._routes.open(on_entry, on_lost, on_progress)

    async def waiting(self) -> Waiting:
        def transaction(db: sqlite3.Connection) -> int:
            return int(db.execute("SELECT count(*) FROM dead").fetchone()[0])

        self._queue.check_open()
        return Waiting(max(0, self._queue.ready_events), await self._database.read(transaction))

    def serve_rpc(self, answer: RpcAnswer) -> AbstractAsyncContextManager[None]:
        return self._calls.serving(answer)

    async def call(self, body: bytes, timeout_s: float) -> bytes:
        self._queue.check_open()
        return await self._calls.call(body, timeout_s)

    async def ping(self) -> None:
        """Asks the thread that every publish goes through."""
        self._queue.check_open()
        await self._database.write(lambda db: None)

    def lose_feeds(self, reason: str) -> None:
        """Ends every feed still open, telling each owner."""
        self._routes.lose_all(reason)


@asynccontextmanager
async def broker_over(database: Database) -> AsyncIterator[SqliteBroker]:
    """Runs the broker that a database made by `SCHEMA` holds; one at a time."""
    intake_queue = DurableQueue(database, await database.read(queue.last_receipt))
    broker = SqliteBroker(database, intake_queue)
    commits = asyncio.create_task(intake_queue.commit_groups(), name="embedded broker: commits")
    commits.add_done_callback(lambda task: _watch(task, broker))
    try:
        yield broker
    finally:
        intake_queue.close()
        commits.cancel()
        await asyncio.wait([commits])


@asynccontextmanager
async def open_broker(path: Path | None) -> AsyncIterator[SqliteBroker]:
    """Opens the broker kept in the file `path`; None keeps it in memory. Raises `BrokerUnavailable`."""
    async with open_database(path, SCHEMA, BrokerUnavailable) as database, broker_over(database) as broker:
        yield broker


def _numbers(ids: Collection[str]) -> str:
    """Those that could be numbers of SQLite's, as JSON."""
    return json.dumps([int(id_) for id_ in ids if id_.isascii() and id_.isdigit() and len(id_) <= MAX_DIGITS])


def _watch(commits: asyncio.Task[None], broker: SqliteBroker) -> None:
    """Without its commits the broker is closed already; whoever feeds on it must hear."""
    if not commits.cancelled() and (error := commits.exception()):
        _log.critical("the embedded broker stopped", exc_info=error)
    broker.lose_feeds("the embedded broker has ended")
