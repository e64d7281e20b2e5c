"""What edges share, on SQLite: tickets, and who is connected where.

An edge is kept until somebody finds its lease expired; its `term` is the name of this unbroken time.
A connection is an orphan for good once no edge has the term that it was opened in.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from json import dumps, loads
from pathlib import Path
from typing import Any
from uuid import uuid4

from shared.embedded.database import Database, open_database
from shared.model.errors import LogUnavailable
from shared.ports.sessions import ConnectionRecord, Places

SCHEMA = """
CREATE TABLE IF NOT EXISTS tickets (
    digest TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tickets_by_expiry ON tickets (expires_at);
CREATE TABLE IF NOT EXISTS edges (
    name TEXT PRIMARY KEY,
    term TEXT NOT NULL,
    lease_until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (
    edge TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    behind TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS connections (
    id TEXT PRIMARY KEY,
    term TEXT NOT NULL,
    edge TEXT NOT NULL,
    sub TEXT NOT NULL,
    sid TEXT NOT NULL,
    opened_ms INTEGER NOT NULL,
    address TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS connections_by_term ON connections (term, edge);
CREATE INDEX IF NOT EXISTS connections_by_user ON connections (sub, id);
"""

_COLUMNS = "id, edge, sub, sid, opened_ms, address"
# Of an edge that never renewed, or whose lease was found expired, the term is one that no edge has.
_LIST = (
    f"INSERT OR REPLACE INTO connections ({_COLUMNS}, term)"
    " VALUES (?, ?, ?, ?, ?, ?, coalesce((SELECT term FROM edges WHERE name = ?), ''))"
)
_LIVING = "term IN (SELECT term FROM edges WHERE lease_until > ?)"
_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


class SqliteSessionStore:
    """`shared.ports.sessions.SessionStore` over one database; several may share a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_ticket(self, digest: str, content: str, ttl_s: float) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            now = time.time()
            db.execute("DELETE FROM tickets WHERE expires_at <= ?", (now,))
            db.execute("INSERT OR REPLACE INTO tickets VALUES (?, ?, ?)", (digest, content, now + ttl_s))

        await self._database.write(transaction)

    async def take_ticket(self, digest: str) -> str | None:
        def transaction(db: sqlite3.Connection) -> str | None:
            query = "SELECT content FROM tickets WHERE digest = ? AND expires_at > ?"
            row = db.execute(query, (digest, time.time())).fetchone()
            db.execute("DELETE FROM tickets WHERE digest = ?", (digest,))
            return str(row[0]) if row else None

        return await self._database.write(transaction)

    async def renew(self, edge: str, lease_s: float, places: Places | None = None) -> str:
        told = None if places is None else (edge, places.position, dumps(dict(places.behind)))

        def transaction(db: sqlite3.Connection) -> str:
            # Late, it goes on with its term as long as nobody found the lease expired.
            (term,) = db.execute(
                "INSERT INTO edges VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET lease_until = excluded.lease_until RETURNING term",
                (edge, uuid4().hex, time.time() + lease_s),
            ).fetchone()
            if told is not None:
                db.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", told)
            return str(term)

        return await self._database.write(transaction)

    async def opened(self, connections: Collection[ConnectionRecord]) -> None:
        rows = [(*_row(record), record.edge) for record in connections]
        if rows:
            await self._database.write(lambda db: db.executemany(_LIST, rows).close())

    async def closed(self, ids: Collection[str]) -> None:
        chosen = (dumps(list(ids)),)

        def transaction(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM connections WHERE id IN (SELECT value FROM json_each(?))", chosen)

        if ids:
            await self._database.write(transaction)

    async def connections(
        self, *, sub: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ConnectionRecord]:
        def transaction(db: sqlite3.Connection) -> list[ConnectionRecord]:
            user, who = ("", ()) if sub is None else ("sub = ? AND ", (sub,))
            query = f"SELECT {_COLUMNS} FROM connections WHERE {user}id > ? AND {_LIVING} ORDER BY id LIMIT ?"
            found = [_record(row) for row in db.execute(query, (*who, after, time.time(), max(limit, 0)))]
            return _placed(db, found)

        return await self._database.read(transaction)

    async def counts(self) -> Mapping[str, int]:
        def transaction(db: sqlite3.Connection) -> dict[str, int]:
            query = f"SELECT edge, count(*) FROM connections WHERE {_LIVING} GROUP BY edge"
            return dict(db.execute(query, (time.time(),)).fetchall())

        return await self._database.read(transaction)

    async def take_orphans(self, limit: int) -> Sequence[ConnectionRecord]:
        def transaction(db: sqlite3.Connection) -> list[ConnectionRecord]:
            db.execute("DELETE FROM edges WHERE lease_until <= ?", (time.time(),))
            db.execute("DELETE FROM places WHERE edge NOT IN (SELECT name FROM edges)")
            query = f"SELECT {_COLUMNS} FROM connections WHERE term NOT IN (SELECT term FROM edges) LIMIT ?"
            orphans = [_record(row) for row in db.execute(query, (max(limit, 0),))]
            db.executemany("DELETE FROM connections WHERE id = ?", [(orphan.id,) for orphan in orphans])
            return orphans

        return await self._database.write(transaction)


@asynccontextmanager
async def open_session_store(path: Path | None) -> AsyncIterator[SqliteSessionStore]:
    """Opens the store kept in the file `path`; None keeps it in memory. Raises `LogUnavailable`."""
    async with open_database(path, SCHEMA, LogUnavailable) as database:
        yield SqliteSessionStore(database)


def _placed(db: sqlite3.Connection, records: Sequence[ConnectionRecord]) -> list[ConnectionRecord]:
    """The same with what their edges told of their positions."""
    query = "SELECT edge, position, behind FROM places WHERE edge IN (SELECT value FROM json_each(?))"
    edges = (dumps(list({record.edge for record in records})),)
    places = {edge: Places(position, loads(behind)) for edge, position, behind in db.execute(query, edges)}
    return [
        replace(record, position=places[record.edge].of(record.id)) if record.edge in places else record
        for record in records
    ]


def _row(record: ConnectionRecord) -> tuple[object, ...]:
    opened_ms = (record.opened_at - _EPOCH) // _MILLISECOND
    return (record.id, record.edge, record.sub, record.sid, opened_ms, record.address)


def _record(row: tuple[Any, ...]) -> ConnectionRecord:
    id_, edge, sub, sid, opened_ms, address = row
    return ConnectionRecord(id_, edge, sub, sid, _EPOCH + opened_ms * _MILLISECOND, address)
