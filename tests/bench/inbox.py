"""A page and the counts of a full inbox, among the items of very many other users."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from shared.embedded.read_models import open_read_models as open_sqlite
from shared.folds.inbox import EDGE_SOURCE, INBOX, MARKED
from shared.folds.inbox_reading import MAX_COUNTED, Viewer, Wanted, inbox_counts, inbox_page
from shared.model.entry import Entry
from shared.model.notification import TYPE
from shared.mongo.read_models import open_read_models as open_mongo
from shared.ports.read_models import Generation, ReadModels
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_most, percentile
from tests.bench.stage import Stage

USER = "probe"
ITEMS = 100_000
# Items that were read one by one, far apart: as many spans.
READ = 1000
PAGE = 50
READS, WARM_UP = 300, 20
BATCH = 2000
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    others = stage.size(1_000_000, 20_000)
    path = stage.folder / "models.db"
    async with open_mongo(stage.installation().settings) as mongo, open_sqlite(path) as sqlite:
        for name, models in (("MongoDB", mongo), ("SQLite", sqlite)):
            stage.tell(f"{ITEMS:,} items of one user and {others:,} of as many others into {name}")
            await _fill(models, others)
        for run in stage.runs():
            stage.tell(f"run {run}: {READS} pages and counts from each")
            yield {**await _measured("mongodb", mongo), **await _measured("sqlite", sqlite)}


async def _measured(name: str, models: ReadModels) -> dict[str, float]:
    viewer = Viewer(USER, lambda tag: True, "2026-01-31T12:00:00.000Z")

    async def first_page() -> None:
        found = await models.read(INBOX.model.name, inbox_page(viewer, Wanted(limit=PAGE)))
        _expect(len(found.result.items), PAGE)

    async def deep_page() -> None:
        found = await models.read(INBOX.model.name, inbox_page(viewer, Wanted(limit=PAGE, below=ITEMS, unread=True)))
        _expect(len(found.result.items), PAGE)

    async def counts() -> None:
        found = await models.read(INBOX.model.name, inbox_counts(viewer))
        _expect(found.result.unread, MAX_COUNTED)

    return {
        f"{name}, page": await _p99_ms(first_page),
        f"{name}, deep page of unread": await _p99_ms(deep_page),
        f"{name}, counts": await _p99_ms(counts),
    }


def _expect(found: int, expected: int) -> None:
    if found != expected:
        raise Failed(f"{found} were found instead of {expected}")


async def _p99_ms(read: Callable[[], Awaitable[None]]) -> float:
    took: list[float] = []
    for _ in range(WARM_UP + READS):
        began = time.perf_counter()
        await read()
        took.append(time.perf_counter() - began)
    return percentile(took[WARM_UP:], 0.99) * 1000


async def _fill(models: ReadModels, others: int) -> None:
    generation = await models.begin(INBOX.model, "bench", 0)
    entries = _entries(others)
    while batch := list(islice(entries, BATCH)):
        generation = await _folded(models, generation, batch)
    await models.swap(generation)


async def _folded(models: ReadModels, generation: Generation, entries: Sequence[Entry]) -> Generation:
    found = await models.read_in(generation, INBOX.fold(entries))
    return await models.commit(generation, found.result, entries[-1].position)


def _entries(others: int) -> Iterator[Entry]:
    """The user's items spread over those of the others; then what was read of them, one by one."""
    position = 0
    step = max(1, others // ITEMS)
    for number in range(ITEMS):
        position += 1
        yield _notification(position, USER)
        for _ in range(step if number * step < others else 0):
            position += 1
            yield _notification(position, f"user-{position}")
    apart = position // READ
    for number in range(1, READ):
        position += 1
        data = {"user": USER, "mark": "read", "spans": [[number * apart, number * apart + step]]}
        yield _entry(position, MARKED, f"inbox:{USER}", data, EDGE_SOURCE)


def _notification(position: int, user: str) -> Entry:
    return _entry(position, TYPE, f"user:{user}", {"title": f"number {position}", "body": "of many"}, "/bench")


def _entry(position: int, type_: str, tag: str, data: object, source: str) -> Entry:
    event = {"specversion": "1.0", "id": str(position), "source": source, "type": type_, "data": data}
    return Entry(
        position, None, source, str(position), type_, None, (tag,), False, None, None, NOW, json.dumps(event).encode()
    )


def _figures(name: str) -> tuple[Figure, ...]:
    return tuple(
        Figure(f"{name}, {what}", "ms, p99", at_most(20)) for what in ("page", "deep page of unread", "counts")
    )


BENCHMARK = Benchmark(
    "inbox",
    "a page and the counts of an inbox of 100,000 items, beside those of 1,000,000 other users",
    (*_figures("mongodb"), *_figures("sqlite")),
    runs,
)
