"""Read models on SQLite.

Each generation has two tables of its own, so that dropping one is cheap: `rows_<number>`, and
`places_<number>` with one row for each place of a row in an index: the index, its equal values as
JSON, and the value of its last field, by which places lie in order.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from shared.embedded.database import Database, open_database
from shared.model.errors import FoldConflict, FoldRejected, LogUnavailable, ModelMissing
from shared.model.read_model import (
    Changes,
    Count,
    Get,
    Model,
    Query,
    Range,
    Reading,
    Row,
    Scan,
    Value,
    described_model,
    drive,
)
from shared.ports.read_models import Failure, Found, Generation, Stage

SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    log_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    position INTEGER NOT NULL,
    stage TEXT NOT NULL,
    failure TEXT,
    retired_at REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS current_generation ON generations (name) WHERE stage = 'current';
"""
_TABLES = """
CREATE TABLE rows_{0} (tab TEXT NOT NULL, key TEXT NOT NULL, fields TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tab, key));
"""
# `last` has no type, so that integers stay integers.
_PLACES = """
CREATE TABLE places_{0} (idx INTEGER NOT NULL, equal TEXT NOT NULL, last NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (idx, equal, last, key)) WITHOUT ROWID;
"""
_COLUMNS = "number, model, log_id, since, position, stage, failure"

# Bodies that are no JSON, integers and texts that SQLite cannot hold.
_REFUSED = (ValueError, OverflowError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)

Result = TypeVar("Result")
Place = tuple[int, str, Value, str]
"""(index, its equal values as JSON, the last value, key)."""


class SqliteReadModels:
    """`shared.ports.read_models.ReadModels` over one database; several may share a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def generations(self, name: str | None = None) -> Sequence[Generation]:
        def transaction(db: sqlite3.Connection) -> list[Generation]:
            return _generations(db, "WHERE ? IS NULL OR name = ?", (name, name))

        return await self._database.read(transaction)

    async def begin(self, model: Model, log_id: str, since: int, *, scratch: bool = False) -> Generation:
        stage = Stage.SCRATCH if scratch else Stage.BUILDING

        def transaction(db: sqlite3.Connection) -> Generation:
            for begun in _generations(db, "WHERE name = ? AND stage = 'building'", (model.name,)):
                if not scratch and (begun.model, begun.log_id) == (model, log_id):
                    return begun
            insert = "INSERT INTO generations (name, model, log_id, since, position, stage) VALUES (?, ?, ?, ?, ?, ?)"
            number = db.execute(insert, (model.name, model.described(), log_id, since, since, stage.value)).lastrowid
            assert number is not None
            db.execute(_TABLES.format(number))
            db.execute(_PLACES.format(number))
            return Generation(number, model, log_id, since, since, stage)

        return await self._database.write(transaction)

    async def commit(self, generation: Generation, changes: Changes, through: int) -> Generation:
        def transaction(db: sqlite3.Connection) -> None:
            moved = db.execute(
                "UPDATE generations SET position = ?, failure = NULL"
                " WHERE number = ? AND position = ? AND stage != 'retired'",
                (through, generation.number, generation.position),
            )
            if not moved.rowcount:
                raise FoldConflict(f"{generation.model.name!r} is not at {generation.position} any more")
            for table, rows in changes.items():
                _put(db, generation, table, rows)

        try:
            await self._database.write(transaction)
        except _REFUSED as error:
            raise FoldRejected(f"SQLite cannot hold a row of {generation.model.name!r}: {error}") from error
        return replace(generation, position=through, failure=None)

    async def stop(self, generation: Generation, failure: Failure) -> None:
        parameters = (json.dumps(asdict(failure)), generation.number, generation.position)

        def transaction(db: sqlite3.Connection) -> None:
            told = db.execute("UPDATE generations SET failure = ? WHERE number = ? AND position = ?", parameters)
            if not told.rowcount:
                raise FoldConflict(f"{generation.model.name!r} is not at {generation.position} any more")

        await self._database.write(transaction)

    async def swap(self, generation: Generation) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            retire = "UPDATE generations SET stage = 'retired', retired_at = ? WHERE name = ? AND stage = 'current'"
            db.execute(retire, (time.time(), generation.model.name))
            begin = "UPDATE generations SET stage = 'current' WHERE number = ? AND stage = 'building'"
            if not db.execute(begin, (generation.number,)).rowcount:
                raise FoldConflict(f"generation {generation.number} of {generation.model.name!r} is not being built")

        await self._database.write(transaction)

    async def drop(self, generation: Generation) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            for found in _generations(db, "WHERE number = ?", (generation.number,)):
                if found.stage is Stage.CURRENT:
                    raise FoldConflict(f"generation {found.number} of {found.model.name!r} is the current one")
            db.execute("DELETE FROM generations WHERE number = ?", (generation.number,))
            for table in ("rows", "places"):
                db.execute(f"DROP TABLE IF EXISTS {table}_{generation.number}")

        await self._database.write(transaction)

    async def retired(self, for_s: float) -> Sequence[Generation]:
        before = time.time() - for_s

        def transaction(db: sqlite3.Connection) -> list[Generation]:
            return _generations(db, "WHERE stage = 'retired' AND retired_at <= ?", (before,))

        return await self._database.read(transaction)

    async def read(self, name: str, reading: Reading[Result]) -> Found[Result]:
        def transaction(db: sqlite3.Connection) -> Found[Result]:
            found = _generations(db, "WHERE name = ? AND stage = 'current'", (name,))
            if not found:
                raise ModelMissing(f"{name!r} is being built")
            return _driven(db, found[0], reading)

        return await self._database.read(transaction)

    async def read_in(self, generation: Generation, reading: Reading[Result]) -> Found[Result]:
        def transaction(db: sqlite3.Connection) -> Found[Result]:
            found = _generations(db, "WHERE number = ?", (generation.number,))
            if not found:
                raise FoldConflict(f"generation {generation.number} of {generation.model.name!r} was dropped")
            return _driven(db, found[0], reading)

        return await self._database.read(transaction)


@asynccontextmanager
async def open_read_models(path: Path | None) -> AsyncIterator[SqliteReadModels]:
    """Opens the read models kept in the file `path`; None keeps them in memory. Raises `LogUnavailable`.

    A commit waits for no disk: what a power cut takes, with its position, is folded again.
    """
    async with open_database(path, SCHEMA, LogUnavailable, synchronous="NORMAL") as database:
        yield SqliteReadModels(database)


def _generations(db: sqlite3.Connection, where: str, parameters: Sequence[object]) -> list[Generation]:
    query = f"SELECT {_COLUMNS} FROM generations {where} ORDER BY number"
    return [_generation(row) for row in db.execute(query, parameters)]


def _generation(row: tuple[Any, ...]) -> Generation:
    number, model, log_id, since, position, stage, failure = row
    told = Failure(**json.loads(failure)) if failure else None
    return Generation(number, described_model(model), log_id, since, position, Stage(stage), told)


def _put(db: sqlite3.Connection, generation: Generation, table: str, changes: Mapping[str, Row | None]) -> None:
    """Writes a table's rows, and what their writing changes in its indexes."""
    number, model = generation.number, generation.model
    model.table(table)
    before = f"SELECT fields FROM rows_{number} WHERE tab = ? AND key = ?"
    gone: set[Place] = set()
    come: set[Place] = set()
    for key, row in changes.items():
        if found := db.execute(before, (table, key)).fetchone():
            gone.update(_places(model, table, Row(key, {}, json.loads(found[0]))))
        if row is not None:
            come.update(_places(model, table, row))
    delete = f"DELETE FROM places_{number} WHERE idx = ? AND equal = ? AND last = ? AND key = ?"
    db.executemany(delete, gone - come)
    db.executemany(f"INSERT INTO places_{number} VALUES (?, ?, ?, ?)", come - gone)
    db.executemany(
        f"INSERT OR REPLACE INTO rows_{number} VALUES (?, ?, ?, ?)",
        [(table, key, to_json(row.fields).decode(), to_json(row.body)) for key, row in changes.items() if row],
    )
    removed = [(table, key) for key, row in changes.items() if row is None]
    db.executemany(f"DELETE FROM rows_{number} WHERE tab = ? AND key = ?", removed)


def _places(model: Model, table: str, row: Row) -> Iterator[Place]:
    """Where a row of this table is found."""
    for number, (of, index) in enumerate(model.indexes()):
        if of == table:
            for *equal, last in row.places(index):
                yield number, _equal(equal), last, row.key


def _equal(values: Sequence[Value]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _driven(db: sqlite3.Connection, generation: Generation, reading: Reading[Result]) -> Found[Result]:
    return Found(drive(reading, partial(_answer, db, generation)), generation)


def _answer(db: sqlite3.Connection, generation: Generation, query: Query) -> object:
    match query:
        case Get():
            return {row.key: row for row in _rows_of(db, generation, query.table, query.keys)}
        case Range():
            keys = list(islice(_keys_in(db, generation, query), max(query.limit, 0)))
            found = {row.key: row for row in _rows_of(db, generation, query.table, keys)}
            return [found[key] for key in keys]
        case Count():
            return sum(1 for _ in islice(_keys_in(db, generation, query.range), max(query.range.limit, 0)))
        case Scan():
            generation.model.table(query.table)
            after = "WHERE tab = ? AND key > ? ORDER BY key LIMIT ?"
            return list(_rows(db, generation, after, (query.table, query.after, max(query.limit, 0))))


def _rows_of(db: sqlite3.Connection, generation: Generation, table: str, keys: Iterable[str]) -> Iterator[Row]:
    generation.model.table(table)
    for key in dict.fromkeys(keys):
        yield from _rows(db, generation, "WHERE tab = ? AND key = ?", (table, key))


def _rows(db: sqlite3.Connection, generation: Generation, where: str, parameters: Sequence[object]) -> Iterator[Row]:
    query = f"SELECT key, body, fields FROM rows_{generation.number} {where}"
    for key, body, fields in db.execute(query, parameters):
        yield Row(key, from_json(body), json.loads(fields))


def _keys_in(db: sqlite3.Connection, generation: Generation, wanted: Range) -> Iterator[str]:
    """The keys of a range in order, each once, no more of them looked at than are taken."""
    index = generation.model.index_of(wanted)
    places = (_places_in(db, generation.number, index, _equal(equal), wanted) for equal in wanted.alternatives())
    seen: set[str] = set()
    for _, key in heapq.merge(*places, reverse=wanted.descending):
        if key not in seen:
            seen.add(key)
            yield key


def _places_in(
    db: sqlite3.Connection, number: int, index: int, equal: str, wanted: Range
) -> Iterator[tuple[Value, str]]:
    """(the last value, key) of one run of the index, in order."""
    bounds = [(" AND last > ?", wanted.above), (" AND last < ?", wanted.below)]
    conditions = "".join(text for text, value in bounds if value is not None)
    direction = "DESC" if wanted.descending else "ASC"
    query = (
        f"SELECT last, key FROM places_{number} WHERE idx = ? AND equal = ?{conditions}"
        f" ORDER BY last {direction}, key {direction}"
    )
    parameters = (index, equal, *(value for _, value in bounds if value is not None))
    return iter(db.execute(query, parameters))
