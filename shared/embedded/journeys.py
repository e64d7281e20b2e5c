"""The journeys of events on SQLite. What is over its time goes with the next steps that are kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from json import dumps, loads
from pathlib import Path
from typing import Any

from shared.embedded.database import Database, open_database
from shared.model.errors import LogUnavailable
from shared.ports.journeys import Step

SCHEMA = """
CREATE TABLE IF NOT EXISTS steps (
    span TEXT NOT NULL,
    stage TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    trace TEXT NOT NULL,
    parent TEXT,
    began_us INTEGER NOT NULL,
    took_us INTEGER NOT NULL,
    service TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    about TEXT NOT NULL,
    kept_until REAL NOT NULL,
    PRIMARY KEY (span, stage, source, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS steps_by_event ON steps (id, source, began_us);
CREATE INDEX IF NOT EXISTS steps_by_trace ON steps (trace, began_us);
CREATE INDEX IF NOT EXISTS steps_by_expiry ON steps (kept_until);
"""

# Twice as many as one call keeps: what is over goes faster than what is new comes, and no call waits long.
SWEPT_AT_ONCE = 2000

_NAMES = tuple(field.name for field in fields(Step))
_COLUMNS = ", ".join(_NAMES)
_KEEP = f"INSERT OR IGNORE INTO steps ({_COLUMNS}, kept_until) VALUES ({', '.join('?' * 13)})"
# SQLite is not always built to take a LIMIT in a DELETE.
_SWEEP = f"""
DELETE FROM steps WHERE (span, stage, source, id) IN
    (SELECT span, stage, source, id FROM steps WHERE kept_until <= ? LIMIT {SWEPT_AT_ONCE})
"""


class SqliteJourneyStore:
    """`shared.ports.journeys.JourneyStore` over one database; several processes may share a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, steps: Collection[Step], kept_s: float) -> None:
        now = time.time()
        rows = [(*_row(step), now + kept_s) for step in steps]

        def transaction(db: sqlite3.Connection) -> None:
            db.execute(_SWEEP, (now,))
            db.executemany(_KEEP, rows)

        if rows:
            await self._database.write(transaction)

    async def of_event(self, id_: str, source: str | None = None, *, limit: int) -> Sequence[Step]:
        if source is None:
            return await self._found("id = ?", (id_,), limit)
        return await self._found("id = ? AND source = ?", (id_, source), limit)

    async def of_trace(self, trace: str, *, limit: int) -> Sequence[Step]:
        return await self._found("trace = ?", (trace,), limit)

    async def _found(self, where: str, values: tuple[str, ...], limit: int) -> list[Step]:
        query = f"SELECT {_COLUMNS} FROM steps WHERE {where} AND kept_until > ? ORDER BY began_us, span LIMIT ?"

        def transaction(db: sqlite3.Connection) -> list[Step]:
            return [_step(row) for row in db.execute(query, (*values, time.time(), max(limit, 0)))]

        return await self._database.read(transaction)


def _row(step: Step) -> tuple[Any, ...]:
    plain = {name: getattr(step, name) for name in _NAMES}
    return tuple((plain | {"about": dumps(dict(step.about), ensure_ascii=False)}).values())


def _step(row: tuple[Any, ...]) -> Step:
    """The inverse of `_row`."""
    columns = dict(zip(_NAMES, row, strict=True))
    return Step(**columns | {"about": loads(columns["about"])})


@asynccontextmanager
async def open_journey_store(path: Path | None) -> AsyncIterator[SqliteJourneyStore]:
    """Opens the store kept in the file `path`; None keeps it in memory. Raises `LogUnavailable`."""
    async with open_database(path, SCHEMA, LogUnavailable) as database:
        yield SqliteJourneyStore(database)
