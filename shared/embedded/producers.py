"""The keys of producers on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from json import dumps, loads
from pathlib import Path
from typing import Any

from shared.embedded.database import Database, open_database
from shared.model.errors import KeyTaken, LogUnavailable
from shared.ports.producers import KeyRecord

SCHEMA = """
CREATE TABLE IF NOT EXISTS producer_keys (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    sources TEXT NOT NULL,
    types TEXT NOT NULL,
    events_per_s REAL,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    is_gone INTEGER NOT NULL
) WITHOUT ROWID;
"""

_COLUMNS = "id, digest, name, created_ms, sources, types, events_per_s, expires_ms, revoked_ms, is_gone"
_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


class SqliteProducerStore:
    """`shared.ports.producers.ProducerStore` over one database; several processes may share a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: KeyRecord) -> None:
        insert = f"INSERT INTO producer_keys ({_COLUMNS}) VALUES ({', '.join('?' * 10)})"
        try:
            await self._database.write(lambda db: db.execute(insert, _row(key)).close())
        except sqlite3.IntegrityError as taken:
            raise KeyTaken(f"the key {key.id} is there already") from taken

    async def find(self, digest: str) -> KeyRecord | None:
        return await self._database.read(lambda db: _one(db, "digest = ?", digest))

    async def revoke(self, id_: str, at: datetime, *, gone: bool = False) -> KeyRecord | None:
        def transaction(db: sqlite3.Connection) -> KeyRecord | None:
            db.execute(
                "UPDATE producer_keys SET revoked_ms = coalesce(revoked_ms, ?), is_gone = max(is_gone, ?) WHERE id = ?",
                (_ms(at), gone, id_),
            )
            return _one(db, "id = ?", id_)

        return await self._database.write(transaction)

    async def keys(self, *, name: str | None = None, after: str = "", limit: int = 100) -> Sequence[KeyRecord]:
        def transaction(db: sqlite3.Connection) -> list[KeyRecord]:
            of_name, who = ("", ()) if name is None else ("name = ? AND ", (name,))
            query = f"SELECT {_COLUMNS} FROM producer_keys WHERE {of_name}id > ? ORDER BY id LIMIT ?"
            return [_record(row) for row in db.execute(query, (*who, after, max(limit, 0)))]

        return await self._database.read(transaction)


@asynccontextmanager
async def open_producer_store(path: Path | None) -> AsyncIterator[SqliteProducerStore]:
    """Opens the store kept in the file `path`; None keeps it in memory. Raises `LogUnavailable`."""
    async with open_database(path, SCHEMA, LogUnavailable) as database:
        yield SqliteProducerStore(database)


def _one(db: sqlite3.Connection, where: str, value: str) -> KeyRecord | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM producer_keys WHERE {where}", (value,)).fetchone()
    return _record(row) if row else None


def _row(key: KeyRecord) -> tuple[object, ...]:
    return (
        key.id,
        key.digest,
        key.name,
        _ms(key.created_at),
        dumps(key.sources),
        dumps(key.types),
        key.events_per_s,
        _ms(key.expires_at),
        _ms(key.revoked_at),
        key.is_gone,
    )


def _record(row: tuple[Any, ...]) -> KeyRecord:
    """The inverse of `_row`."""
    id_, digest, name, created, sources, types, events_per_s, expires, revoked, is_gone = row
    created_at = _EPOCH + created * _MILLISECOND
    scope = tuple(loads(sources)), tuple(loads(types))
    return KeyRecord(id_, digest, name, created_at, *scope, events_per_s, _time(expires), _time(revoked), bool(is_gone))


def _ms(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // _MILLISECOND


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _EPOCH + milliseconds * _MILLISECOND
