"""The event log on SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from json import dumps
from pathlib import Path
from typing import Any

from shared.embedded.database import Database, open_database
from shared.embedded.log_upkeep import SqliteLogUpkeep
from shared.model.cursor import new_log_id
from shared.model.entry import Entry, Head, Identity, Page
from shared.model.errors import AppendConflict, AppendRejected, FenceLost, LogUnavailable
from shared.ports.event_log import Fence

SCHEMA = """
CREATE TABLE IF NOT EXISTS head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    log_id TEXT NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '',
    lease_until REAL NOT NULL DEFAULT 0,
    last INTEGER NOT NULL DEFAULT 0,
    floor INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY,
    version INTEGER,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    audience TEXT NOT NULL,
    final INTEGER NOT NULL,
    traceparent TEXT,
    tracestate TEXT,
    appended_ms INTEGER NOT NULL,
    event BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_identity ON entries (source, id);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_version ON entries (subject, version) WHERE subject IS NOT NULL;
CREATE TABLE IF NOT EXISTS tags (
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removed_versions (
    subject TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
"""

_COLUMNS = "position, version, source, id, type, subject, audience, final, traceparent, tracestate, appended_ms, event"
_INSERT = f"INSERT INTO entries ({_COLUMNS}) VALUES ({', '.join('?' * 12)})"
_LAST_VERSION = """
SELECT coalesce(
    (SELECT max(version) FROM entries WHERE subject = ?1), (SELECT version FROM removed_versions WHERE subject = ?1)
)"""
_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)
# SQLite's integers end here; a cursor may name more.
_MAX_POSITION = 2**63 - 1
# A scan costs about as much as reading this many positions.
_SMALLEST_SHARE = 8
_NOT_UNIQUE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


class SqliteEventLog:
    """`shared.ports.event_log.EventLog` over one database; several may share a file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.upkeep = SqliteLogUpkeep(database)

    async def head(self) -> Head:
        return await self._database.read(_head)

    async def claim(self, owner: str, lease_s: float, *, force: bool) -> Fence | None:
        def transaction(db: sqlite3.Connection) -> Fence | None:
            epoch, last, holder, lease_until = _one(db, "SELECT epoch, last, owner, lease_until FROM head")
            if not may_claim(owner, holder, lease_until - time.time(), force=force):
                return None
            taken = (epoch + 1, owner, time.time() + lease_s)
            db.execute("UPDATE head SET epoch = ?, owner = ?, lease_until = ?", taken)
            return Fence(epoch + 1, last)

        return await self._database.write(transaction)

    async def renew(self, fence: Fence, lease_s: float) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            _check_fence(db, fence)
            db.execute("UPDATE head SET lease_until = ?", (time.time() + lease_s,))

        await self._database.write(transaction)

    async def append(self, fence: Fence, entries: Sequence[Entry]) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            last = _check_fence(db, fence)
            check_positions(entries, last)
            db.executemany(_INSERT, map(_row, entries))
            db.executemany("INSERT INTO tags (tag, position) VALUES (?, ?)", _tag_rows(entries))
            db.execute("UPDATE head SET last = ?", (last + len(entries),))

        try:
            await self._database.write(transaction)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode in _NOT_UNIQUE:
                raise AppendConflict(f"{error}: plan the batch again from what the log holds") from error
            raise AppendRejected(f"SQLite cannot hold an entry: {error}") from error
        except (sqlite3.DataError, OverflowError, UnicodeEncodeError) as error:
            raise AppendRejected(f"SQLite cannot hold an entry: {error}") from error

    async def positions(self, identities: Collection[Identity]) -> Mapping[Identity, int]:
        def transaction(db: sqlite3.Connection) -> dict[Identity, int]:
            query = "SELECT position FROM entries WHERE source = ? AND id = ?"
            return {identity: row[0] for identity in identities if (row := db.execute(query, identity).fetchone())}

        return await self._database.read(transaction)

    async def entries(self, positions: Collection[int]) -> Sequence[Entry]:
        return await self._database.read(lambda db: _at(db, positions))

    async def versions(self, subjects: Collection[str]) -> Mapping[str, int]:
        def transaction(db: sqlite3.Connection) -> dict[str, int]:
            last = {subject: _one(db, _LAST_VERSION, (subject,))[0] for subject in subjects}
            return {subject: version for subject, version in last.items() if version is not None}

        return await self._database.read(transaction)

    async def read(self, after: int, limit: int, tags: Collection[str] | None = None) -> Page:
        def transaction(db: sqlite3.Connection) -> Page:
            head = _head(db)
            above = min(max(after, head.floor), _MAX_POSITION)
            entries = _all(db, above, limit) if tags is None else _tagged(db, above, limit, tags)
            return Page(entries, read_through(entries, after, limit, head), head)

        return await self._database.read(transaction)

    async def read_stream(self, subject: str, after_version: int, limit: int) -> Page:
        query = f"SELECT {_COLUMNS} FROM entries WHERE subject = ? AND version > ? ORDER BY version LIMIT ?"

        def transaction(db: sqlite3.Connection) -> Page:
            head = _head(db)
            entries = [_entry(row) for row in db.execute(query, (subject, after_version, limit))]
            return Page(entries, read_through(entries, 0, limit, head), head)

        return await self._database.read(transaction)

    async def checkpoint(self, name: str) -> int:
        def transaction(db: sqlite3.Connection) -> int:
            row = db.execute("SELECT position FROM checkpoints WHERE name = ?", (name,)).fetchone()
            return int(row[0]) if row else 0

        return await self._database.read(transaction)

    async def move_checkpoint(self, fence: Fence, name: str, position: int) -> None:
        """A position below the present one is ignored: a follower never goes back by accident."""

        def transaction(db: sqlite3.Connection) -> None:
            _check_fence(db, fence)
            db.execute(
                "INSERT INTO checkpoints VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)",
                (name, position),
            )

        await self._database.write(transaction)


@asynccontextmanager
async def open_event_log(path: Path | None) -> AsyncIterator[SqliteEventLog]:
    """Opens the log kept in the file `path`; None keeps it in memory. Raises `LogUnavailable`."""
    async with open_database(path, SCHEMA, LogUnavailable) as database:
        await database.write(name_log)
        yield SqliteEventLog(database)


def name_log(db: sqlite3.Connection) -> None:
    """Gives a new log its id, and leaves an old one as it is."""
    db.execute("INSERT OR IGNORE INTO head (id, log_id) VALUES (1, ?)", (new_log_id(),))


def may_claim(owner: str, holder: str, lease_left_s: float, *, force: bool) -> bool:
    """Whether `owner` may take the right to write from `holder`."""
    return force or owner == holder or lease_left_s <= 0


def check_positions(entries: Sequence[Entry], last: int) -> None:
    """Raises `AppendConflict` unless the entries follow position `last` one by one."""
    for expected, entry in enumerate(entries, last + 1):
        if entry.position != expected:
            raise AppendConflict(f"position {entry.position} was given where the log continues with {expected}")


def read_through(entries: Sequence[Entry], after: int, limit: int, head: Head) -> int:
    """How far a read of `limit` entries got: a full page says nothing of what follows its last entry."""
    if len(entries) < limit:
        return head.last
    return entries[-1].position if entries else after


def _check_fence(db: sqlite3.Connection, fence: Fence) -> int:
    """The last position of the log; raises `FenceLost`."""
    epoch, last = _one(db, "SELECT epoch, last FROM head")
    if epoch != fence.epoch:
        raise FenceLost(f"epoch {fence.epoch} was followed by {epoch}: another writer owns the log")
    return int(last)


def _head(db: sqlite3.Connection) -> Head:
    return Head(*_one(db, "SELECT log_id, last, floor FROM head"))


def _all(db: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    query = f"SELECT {_COLUMNS} FROM entries WHERE position > ? ORDER BY position LIMIT ?"
    return [_entry(row) for row in db.execute(query, (after, limit))]


def _tagged(db: sqlite3.Connection, after: int, limit: int, tags: Collection[str]) -> list[Entry]:
    return _at(db, _positions_of(db, after, limit, tags))


def _at(db: sqlite3.Connection, positions: Collection[int]) -> list[Entry]:
    chosen = "SELECT value FROM json_each(?)"
    query = f"SELECT {_COLUMNS} FROM entries WHERE position IN ({chosen}) ORDER BY position"
    return [_entry(row) for row in db.execute(query, (dumps(list(positions)),))]


def _positions_of(db: sqlite3.Connection, after: int, limit: int, tags: Collection[str]) -> list[int]:
    """The first `limit` positions of the tags, in order.

    Every tag's index is scanned a share at a time, and no further than the page found so far. A
    single query over all tags would sort every match in the log before it could apply the limit.
    """
    query = "SELECT position FROM tags WHERE tag = ? AND position > ? AND position < ? ORDER BY position LIMIT ?"
    share = fair_share(limit, len(tags))
    reached = dict.fromkeys(tags, after)
    found: list[int] = []
    before = _MAX_POSITION
    while reached and limit > 0:
        for tag, start in list(reached.items()):
            more = [row[0] for row in db.execute(query, (tag, start, before, share))]
            found += more
            if len(more) < share:
                del reached[tag]
            else:
                reached[tag] = more[-1]
        found = sorted(set(found))[:limit]
        before = found[-1] if len(found) >= limit else _MAX_POSITION
        reached = {tag: start for tag, start in reached.items() if start < before}
    return found


def fair_share(limit: int, tags: int) -> int:
    """How many positions to take from each tag at once: twice what it gives when all are equally busy.

    Never so few that a busy tag among thousands of quiet ones needs a scan for every entry.
    """
    return min(limit, max(_SMALLEST_SHARE, 2 * limit // max(tags, 1)))


def _one(db: sqlite3.Connection, query: str, parameters: Sequence[object] = ()) -> Any:
    return db.execute(query, parameters).fetchone()


def _tag_rows(entries: Iterable[Entry]) -> Iterable[tuple[str, int]]:
    return ((tag, entry.position) for entry in entries for tag in set(entry.audience))


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.position,
        entry.version,
        entry.source,
        entry.id,
        entry.type,
        entry.subject,
        " ".join(entry.audience),  # no tag holds white space
        entry.final,
        entry.traceparent,
        entry.tracestate,
        (entry.appended_at - _EPOCH) // _MILLISECOND,
        entry.event,
    )


def _entry(row: tuple[Any, ...]) -> Entry:
    position, version, source, id_, type_, subject, audience, final, traceparent, tracestate, appended_ms, event = row
    return Entry(
        position,
        version,
        source,
        id_,
        type_,
        subject,
        tuple(audience.split(" ")) if audience else (),
        bool(final),
        traceparent,
        tracestate,
        _EPOCH + appended_ms * _MILLISECOND,
        event,
    )
