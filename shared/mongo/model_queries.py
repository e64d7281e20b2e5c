"""What the adapter of read models asks of the server, within one session and thread."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from math import prod
from typing import Any

from pydantic_core import from_json, to_json
from pymongo import ASCENDING, DESCENDING, DeleteOne, IndexModel, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as SyncCollection
from pymongo.database import Database

from shared.model.read_model import Count, Get, Index, Query, Range, Row, Scan, described_model
from shared.mongo.client import from_now
from shared.mongo.documents import Document
from shared.mongo.schema import GENERATIONS
from shared.ports.read_models import Failure, Generation, Stage

# As in the log: with more index scans to merge the server would sort in memory.
MAX_MERGED_SCANS = 150

Writes = Mapping[str, Sequence[ReplaceOne[Document] | DeleteOne]]
"""What to write, by collection."""


def generation_of(document: Mapping[str, Any]) -> Generation:
    """A document of `generations`."""
    failure = document.get("failure")
    return Generation(
        number=document["_id"],
        model=described_model(document["model"]),
        log_id=document["log_id"],
        since=document["since"],
        position=document["position"],
        stage=Stage(document["stage"]),
        failure=Failure(**failure) if failure else None,
    )


def collection_of(generation: Generation, table: str) -> str:
    """Where a table's rows are. Raises `ModelMissing`."""
    return f"model_{generation.number}_{generation.model.table(table).name}"


def index_model(index: Index) -> IndexModel:
    """The key at the end makes the order of rows that share a last value the same everywhere."""
    keys = [(f"fields.{name}", ASCENDING) for name in index]
    has_all: Document = {f"fields.{name}": {"$exists": True} for name in index}
    return IndexModel([*keys, ("_id", ASCENDING)], name=_name(index), partialFilterExpression=has_all)


def _name(index: Index) -> str:
    return ",".join(index)


def write_of(key: str, row: Row | None) -> ReplaceOne[Document] | DeleteOne:
    """The body is kept as text, as an event is: nobody has to decode it, and any JSON fits."""
    if row is None:
        return DeleteOne({"_id": key})
    document = {"_id": key, "fields": dict(row.fields), "body": to_json(row.body).decode()}
    return ReplaceOne({"_id": key}, document, upsert=True)


def _row(document: Mapping[str, Any]) -> Row:
    return Row(document["_id"], from_json(document["body"]), document["fields"])


def move(generation: Generation, through: int) -> tuple[Document, Document]:
    """(the generation as it must be, the update that moves it on)."""
    at = {"_id": generation.number, "position": generation.position, "stage": {"$ne": Stage.RETIRED.value}}
    return at, {"$set": {"position": through}, "$unset": {"failure": ""}}


def fold(
    generation: Generation, through: int, writes: Writes, database: Database[Document], session: ClientSession
) -> bool:
    """The transaction of a commit; False where the generation is not as expected."""
    moved = database[GENERATIONS].update_one(*move(generation, through), session=session)
    if moved.matched_count:
        for collection, some in writes.items():
            database[collection].bulk_write(some, ordered=False, session=session)
    return bool(moved.matched_count)


def swap(generation: Generation, database: Database[Document], session: ClientSession) -> bool:
    """The transaction of a swap; False where the generation is not being built."""
    generations = database[GENERATIONS]
    building = {"_id": generation.number, "stage": Stage.BUILDING.value}
    if generations.find_one(building, session=session) is None:
        return False
    generations.update_one(
        {"name": generation.model.name, "stage": Stage.CURRENT.value},
        [{"$set": {"stage": Stage.RETIRED.value, "retired_at": from_now(0)}}],
        session=session,
    )
    swapped = generations.update_one(building, {"$set": {"stage": Stage.CURRENT.value}}, session=session)
    return bool(swapped.matched_count)


def answer(database: Database[Document], session: ClientSession, generation: Generation, query: Query) -> object:
    """One query of a reading."""
    if isinstance(query, Range):
        return [_row(document) for document in _in_range(database, session, generation, query, {})]
    if isinstance(query, Count):
        return len(_in_range(database, session, generation, query.range, {"_id": 1}))
    rows = database[collection_of(generation, query.table)]
    if isinstance(query, Get):
        return {one["_id"]: _row(one) for one in rows.find({"_id": {"$in": list(query.keys)}}, session=session)}
    return list(map(_row, _scanned(rows, session, query)))


def _scanned(rows: SyncCollection[Document], session: ClientSession, query: Scan) -> Sequence[Document]:
    if query.limit < 1:
        return []
    return list(rows.find({"_id": {"$gt": query.after}}, sort=[("_id", ASCENDING)], limit=query.limit, session=session))


def _in_range(
    database: Database[Document],
    session: ClientSession,
    generation: Generation,
    wanted: Range,
    projection: Document,
) -> Sequence[Document]:
    """The documents of a range in order, each once."""
    generation.model.index_of(wanted)
    if wanted.limit < 1:
        return []
    rows = database[collection_of(generation, wanted.table)]
    direction = DESCENDING if wanted.descending else ASCENDING
    last = f"fields.{wanted.index[-1]}"
    parts = [
        list(
            rows.find(
                part,
                projection and projection | {last: 1},
                sort=[(last, direction), ("_id", direction)],
                limit=wanted.limit,
                batch_size=wanted.limit,
                hint=_name(wanted.index),
                session=session,
            )
        )
        for part in _filters(wanted)
    ]
    return parts[0] if len(parts) == 1 else _merged(parts, wanted)


def _filters(wanted: Range) -> Sequence[Document]:
    """The range as filters that each need at most `MAX_MERGED_SCANS` scans of the index."""
    *equal, last = wanted.index
    values = {name: list(wanted.values(name)) for name in equal}
    bounds = {"$gt": wanted.above, "$lt": wanted.below}
    given = {operator: value for operator, value in bounds.items() if value is not None}
    base: Document = {f"fields.{name}": {"$in": some} for name, some in values.items()}
    base[f"fields.{last}"] = given or {"$exists": True}
    if not values:
        return [base]
    longest = max(values, key=lambda name: len(values[name]))
    others = prod(len(some) for name, some in values.items() if name != longest)
    size = max(1, MAX_MERGED_SCANS // max(others, 1))
    chosen = values[longest]
    return [
        base | {f"fields.{longest}": {"$in": chosen[first : first + size]}} for first in range(0, len(chosen), size)
    ]


def _merged(parts: Collection[Sequence[Document]], wanted: Range) -> Sequence[Document]:
    def order(document: Document) -> tuple[Any, str]:
        return document["fields"][wanted.index[-1]], document["_id"]

    merged = heapq.merge(*parts, key=order, reverse=wanted.descending)
    return list(islice({document["_id"]: document for document in merged}.values(), wanted.limit))
