"""Retention of the event log on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from shared.embedded.database import Database
from shared.model.entry import Entry, Head
from shared.model.errors import LogNotEmpty

_KEEP_VERSIONS = """
INSERT INTO removed_versions
SELECT subject, max(version) FROM entries WHERE position <= ? AND subject IS NOT NULL GROUP BY subject
ON CONFLICT (subject) DO UPDATE SET version = max(version, excluded.version)
"""


class SqliteLogUpkeep:
    """`shared.ports.log_upkeep.LogUpkeep` over the database of a log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def raise_floor(self, position: int) -> Head:
        def transaction(db: sqlite3.Connection) -> Head:
            db.execute("UPDATE head SET floor = max(floor, min(?, last))", (position,))
            return Head(*db.execute("SELECT log_id, last, floor FROM head").fetchone())

        return await self._database.write(transaction)

    async def remove(self, through: int, limit: int) -> int:
        def transaction(db: sqlite3.Connection) -> int:
            query = "SELECT position, audience FROM entries WHERE position <= min(?, (SELECT floor FROM head))"
            found = db.execute(f"{query} ORDER BY position LIMIT ?", (through, limit)).fetchall()
            if found:
                last = found[-1][0]
                db.execute(_KEEP_VERSIONS, (last,))
                _remove_tags(db, found)
                db.execute("DELETE FROM entries WHERE position <= ?", (last,))
            return len(found)

        return await self._database.write(transaction)

    async def replace(self, entries: Sequence[Entry]) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            for entry in entries:
                where = (entry.position,)
                before = db.execute("SELECT position, audience FROM entries WHERE position = ?", where).fetchall()
                _remove_tags(db, before)
                audience = " ".join(entry.audience)
                db.execute(
                    "UPDATE entries SET audience = ?, event = ? WHERE position = ?", (audience, entry.event, *where)
                )
                tags = ((tag, entry.position) for tag in set(entry.audience) if before)
                db.executemany("INSERT INTO tags (tag, position) VALUES (?, ?)", tags)

        await self._database.write(transaction)

    async def removed_versions(self, after: str, limit: int) -> Mapping[str, int]:
        def transaction(db: sqlite3.Connection) -> dict[str, int]:
            query = "SELECT subject, version FROM removed_versions WHERE subject > ? ORDER BY subject LIMIT ?"
            return dict(db.execute(query, (after, limit)).fetchall())

        return await self._database.read(transaction)

    async def restore(self, head: Head, versions: Mapping[str, int]) -> None:
        def transaction(db: sqlite3.Connection) -> None:
            if db.execute("SELECT last FROM head").fetchone()[0]:
                raise LogNotEmpty("the log holds entries, or held some")
            db.execute("UPDATE head SET log_id = ?, floor = ?, last = ?", (head.log_id, head.floor, head.floor))
            db.executemany("INSERT OR REPLACE INTO removed_versions VALUES (?, ?)", versions.items())

        await self._database.write(transaction)


def _remove_tags(db: sqlite3.Connection, found: Sequence[tuple[int, str]]) -> None:
    """Tag by tag: the index begins with the tag, and a position alone would be looked for in all of it."""
    rows = ((tag, position) for position, audience in found for tag in audience.split(" ") if tag)
    db.executemany("DELETE FROM tags WHERE tag = ? AND position = ?", rows)
