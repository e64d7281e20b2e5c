"""Deep logs in little time: entries straight into the storage, as the adapters would have put them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from motor.motor_asyncio import AsyncIOMotorClient

from shared.embedded.event_log import _INSERT, SCHEMA, _row, _tag_rows, name_log
from shared.model.cursor import Cursor
from shared.model.entry import Entry
from shared.model.settings import Settings
from shared.mongo.documents import Document, entry_document
from shared.mongo.schema import ENTRIES, HEAD_ID, HEADS, ensure_schema
from tests.bench.samples import entry

BATCH_ENTRIES = 2000

Audience = Callable[[int], str]
"""The audience of the entry at a position."""


async def fill_mongo(settings: Settings, last: int, audience: Audience) -> str:
    """Puts entries 1 to `last` into an empty log; returns its id."""
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(settings.mongo_url.get_secret_value())
    try:
        database = client.get_database(settings.mongo_database)
        await ensure_schema(database)
        for entries in _batches(last, audience):
            await database[ENTRIES].insert_many(list(map(entry_document, entries)), ordered=True)
        head = await database[HEADS].find_one_and_update({"_id": HEAD_ID}, {"$set": {"last": last}})
        return str(head["log_id"])
    finally:
        client.close()


def fill_sqlite(path: Path, last: int, audience: Audience) -> None:
    """The same for the embedded log; the file must not exist."""
    db = sqlite3.connect(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        name_log(db)
        for entries in _batches(last, audience):
            db.executemany(_INSERT, map(_row, entries))
            db.executemany("INSERT INTO tags (tag, position) VALUES (?, ?)", _tag_rows(entries))
            db.commit()
        db.execute("UPDATE head SET last = ?", (last,))
        db.commit()
    finally:
        db.close()


def cursor(log_id: str, position: int) -> str:
    """What a client that has seen everything up to `position` would send."""
    return str(Cursor(log_id, position))


def _batches(last: int, audience: Audience) -> Iterator[list[Entry]]:
    positions = iter(range(1, last + 1))
    while some := list(islice(positions, BATCH_ENTRIES)):
        yield [entry(position, audience(position)) for position in some]
