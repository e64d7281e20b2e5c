"""Each projection over a storage: whoever folds it, however often it is killed, it holds what a fresh fold says."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from shared.conformance import ReadModelsMaker, Storage
from shared.conformance.read_models import ReadModelsCheck
from shared.conformance.samples import an_entry
from shared.folds import PROJECTIONS
from shared.folds.inbox import CHANGES, EDGE_SOURCE, MARKED, MARKS, SUBSCRIPTION
from shared.folds.projection import Projection
from shared.folds.streams import STATUSES
from shared.model.entry import Entry
from shared.model.errors import FoldConflict
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.read_model import Row, Scan, drive, rows
from shared.ports.read_models import Generation, ReadModels

LOG = "log1"
ENTRIES, MAX_BATCH = 150, 12
USERS, TOPICS, JOBS = ("alice", "bob"), ("builds", "deploys"), ("job/1", "job/2", "job/3/4")

Rows = Mapping[str, Mapping[str, Row]]
"""By table and key."""


async def killed_and_repeated_folds_are_a_fresh_fold(make: ReadModelsMaker) -> None:
    """Random events, batches, kills in the middle of commits, and batches that are folded once more."""
    for seed, projection in enumerate(PROJECTIONS):
        chance = random.Random(seed)
        log = _history(chance, ENTRIES)
        async with make() as storage:
            generation = await _begun(storage, projection)
            while generation.position < len(log):
                generation = await _one_life(storage, projection, log, chance)
            kept = await _kept(storage, generation)
        name, fresh = projection.model.name, _fresh(projection, log)
        assert kept.keys() == fresh.keys()
        for table, expected in fresh.items():
            assert kept[table] == expected, f"{table} of {name!r} differs from a fresh fold"
            assert expected, f"nothing was folded into {table} of {name!r}"


FOLDING_CHECKS: tuple[ReadModelsCheck, ...] = (killed_and_repeated_folds_are_a_fresh_fold,)


async def _begun(storage: Storage[ReadModels], projection: Projection) -> Generation:
    async with storage.client() as models:
        return await models.begin(projection.model, LOG, 0)


async def _one_life(
    storage: Storage[ReadModels], projection: Projection, log: Sequence[Entry], chance: random.Random
) -> Generation:
    """A process folds a few batches from where the one before it was, until it ends or is killed."""
    async with storage.client() as models:
        at = await models.begin(projection.model, LOG, 0)
        for _ in range(chance.randrange(1, 6)):
            batch = log[at.position : at.position + chance.randrange(1, MAX_BATCH)]
            if chance.random() < 0.2:
                await _killed(asyncio.ensure_future(_folded(models, projection, at, batch)), chance.randrange(12))
                return at
            before, at = at, await _folded(models, projection, at, batch)
            if batch and chance.random() < 0.3:
                await _repeated(models, projection, before, batch)
        return at


async def _folded(
    models: ReadModels, projection: Projection, generation: Generation, batch: Sequence[Entry]
) -> Generation:
    found = await models.read_in(generation, projection.fold(batch))
    return await models.commit(generation, found.result, generation.position + len(batch))


async def _killed(folding: asyncio.Future[Generation], steps: int) -> None:
    """Gives a fold so many turns, and then no more."""
    for _ in range(steps):
        await asyncio.sleep(0)
    folding.cancel()
    with suppress(asyncio.CancelledError):
        await folding


async def _repeated(models: ReadModels, projection: Projection, before: Generation, batch: Sequence[Entry]) -> None:
    """Another one, which does not know yet how far the first has come, folds the same entries."""
    try:
        await _folded(models, projection, before, batch)
    except FoldConflict:
        return
    raise AssertionError(f"entries from {before.position + 1} on were folded twice")


async def _kept(storage: Storage[ReadModels], generation: Generation) -> Rows:
    async with storage.client() as models:
        tables = [table.name for table in generation.model.tables]
        found = {name: (await models.read_in(generation, rows(Scan(name)))).result for name in tables}
    return {name: {row.key: row for row in some} for name, some in found.items()}


def _fresh(projection: Projection, log: Sequence[Entry]) -> Rows:
    """What one fold of the whole log says, without any storage: it finds no row, and needs none."""
    changes = drive(projection.fold(log), lambda query: {})
    return {
        table: {key: replace(row, body=from_json(to_json(row.body))) for key, row in some.items() if row is not None}
        for table, some in changes.items()
    }


def _history(chance: random.Random, count: int) -> Sequence[Entry]:
    """A log of everything that is folded, and of what must not be."""
    versions: dict[str, int] = {}
    log: list[Entry] = []
    for position in range(1, count + 1):
        kind = chance.choice([_job, _job, _notification, _mark, _subscription])
        entry = kind(chance, position)
        if entry.subject is not None:
            versions[entry.subject] = versions.get(entry.subject, 0) + 1
            entry = replace(entry, version=versions[entry.subject])
        log.append(entry)
    return log


def _job(chance: random.Random, position: int) -> Entry:
    """Progress of one of many runs: they end now and then, so that others begin."""
    step = {"status": chance.choice(["running", "failed", "passed"]), "attempt": chance.randrange(3)}
    told: dict[str, Any] = {"progress": chance.randrange(100), "steps": {chance.choice("ab"): step}, "left": None}
    told |= {chance.choice("xyz"): chance.choice([position, None, {"deep": position}])}
    if chance.random() < 0.3:
        told["status"] = chance.choice(STATUSES)
    subject = f"{chance.choice(JOBS)}-{position // 40}"
    tags = chance.choice([("user:alice",), ("user:alice", "user:bob"), ("topic:builds",), ()])
    entry = _said(position, "job.progressed", tags, chance.choice([told, told, told, "no object"]))
    return replace(entry, subject=subject, final=chance.random() < 0.05)


def _notification(chance: random.Random, position: int) -> Entry:
    tags = chance.choice([("user:alice",), ("user:bob", "user:alice"), ("topic:builds",), ("everyone",), ()])
    level = chance.choice(["info", "error", "no level"])
    return _said(position, NOTIFICATION, tags, {"title": chance.choice(["Done", "", 7]), "level": level})


def _mark(chance: random.Random, position: int) -> Entry:
    user, first = chance.choice(USERS), chance.randrange(1, position + 1)
    told = {"user": user, "mark": chance.choice(MARKS), "spans": [[first, first + chance.randrange(5)]]}
    return _by_an_edge(chance, position, MARKED, user, told)


def _subscription(chance: random.Random, position: int) -> Entry:
    user = chance.choice(USERS)
    told = {"user": user, "topic": chance.choice(TOPICS), "change": chance.choice(CHANGES), "until": None}
    return _by_an_edge(chance, position, SUBSCRIPTION, user, told)


def _by_an_edge(chance: random.Random, position: int, type_: str, user: str, told: object) -> Entry:
    """One in ten only says so."""
    entry = _said(position, type_, (f"inbox:{user}",), told)
    return replace(entry, source=EDGE_SOURCE) if chance.random() < 0.9 else entry


def _said(position: int, type_: str, tags: tuple[str, ...], told: object) -> Entry:
    event = json.dumps({"specversion": "1.0", "data": told}).encode()
    return replace(an_entry(position, *tags), type=type_, event=event)
