"""Whether a resume costs more in a long log than in a short one."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from shared.embedded.event_log import open_event_log as open_sqlite
from shared.model.tags import EVERYONE
from shared.mongo.event_log import open_event_log as open_mongo
from shared.ports.event_log import EventLog
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_most
from tests.bench.preload import fill
from tests.bench.stage import Stage

SHORT = 10_000
# What the measured client may see; the rest goes to others.
TAGS = ("user:probe", "session:probe", "connection:probe", EVERYONE)
# Over the whole log, so that the first page of a long one lies far apart.
SPREAD = 200
# Of the last hundred: what a client missed that was away for a moment.
RECENT, RECENT_OF = 20, 100
PAGE = 200
OTHERS = 1000
READS = 150


@dataclass(frozen=True, slots=True)
class Log:
    """A log of known length; both lengths hold the same number of the client's events."""

    event_log: EventLog
    last: int

    async def first_page_s(self) -> float:
        """A client that asks for everything."""
        return await self._read_s(0, PAGE, PAGE)

    async def catch_up_s(self) -> float:
        """A client that was away for a moment: where the log ends, and what it missed of it."""
        began = time.perf_counter()
        await self.event_log.head()
        return time.perf_counter() - began + await self._read_s(self.last - RECENT_OF, PAGE, RECENT)

    async def _read_s(self, after: int, limit: int, expected: int) -> float:
        began = time.perf_counter()
        page = await self.event_log.read(after, limit, TAGS)
        took_s = time.perf_counter() - began
        if len(page.entries) != expected:
            raise Failed(f"{len(page.entries)} of {expected} entries were read after {after} of {self.last}")
        return took_s


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    lengths = (SHORT, stage.size(1_000_000, 100_000))
    async with _mongo(stage, lengths) as mongo, _sqlite(stage, lengths) as sqlite:
        for run in stage.runs():
            stage.tell(f"run {run}: {READS} reads of each kind from each log")
            yield {**await _compared("mongodb", *mongo), **await _compared("sqlite", *sqlite)}


async def _compared(name: str, short: Log, long: Log) -> dict[str, float]:
    """Reads from both logs in turn, so that whatever else the machine does hits both."""
    took: dict[str, list[float]] = {kind: [] for kind in ("first short", "first long", "near short", "near long")}
    for _ in range(READS):
        took["first short"].append(await short.first_page_s())
        took["first long"].append(await long.first_page_s())
        took["near short"].append(await short.catch_up_s())
        took["near long"].append(await long.catch_up_s())
    median = {kind: statistics.median(seconds) for kind, seconds in took.items()}
    return {
        f"{name}, first page": median["first long"] / median["first short"],
        f"{name}, catch-up": median["near long"] / median["near short"],
        f"{name}, first page, long": median["first long"] * 1000,
        f"{name}, catch-up, long": median["near long"] * 1000,
    }


@asynccontextmanager
async def _mongo(stage: Stage, lengths: Sequence[int]) -> AsyncIterator[list[Log]]:
    async with AsyncExitStack() as opened:
        logs = [await opened.enter_async_context(open_mongo(stage.installation().settings)) for _ in lengths]
        yield [await _filled(stage, "MongoDB", *pair) for pair in zip(logs, lengths, strict=True)]


@asynccontextmanager
async def _sqlite(stage: Stage, lengths: Sequence[int]) -> AsyncIterator[list[Log]]:
    async with AsyncExitStack() as opened:
        paths = [stage.folder / f"log-{last}.db" for last in lengths]
        logs = [await opened.enter_async_context(open_sqlite(path)) for path in paths]
        yield [await _filled(stage, "SQLite", *pair) for pair in zip(logs, lengths, strict=True)]


async def _filled(stage: Stage, storage: str, event_log: EventLog, last: int) -> Log:
    stage.tell(f"{last:,} events into {storage}")
    await fill(event_log, last, partial(_audience, last))
    return Log(event_log, last)


def _audience(last: int, position: int) -> str:
    """The client's events: one in `last / SPREAD` before the end, and one in five of the last hundred."""
    recent_from = last - RECENT_OF
    if position > recent_from:
        return TAGS[0] if position % (RECENT_OF // RECENT) == 0 else _other(position)
    return TAGS[0] if position % (recent_from // SPREAD) == 0 else _other(position)


def _other(position: int) -> str:
    return f"user:{position % OTHERS}"


def _figures(name: str) -> tuple[Figure, ...]:
    return (
        Figure(f"{name}, first page", "ratio", at_most(1.3)),
        Figure(f"{name}, catch-up", "ratio", at_most(1.3)),
        Figure(f"{name}, first page, long", "ms"),
        Figure(f"{name}, catch-up, long", "ms"),
    )


BENCHMARK = Benchmark(
    "depth",
    "reading a backlog's first page, and a short one near the head: a log of 1,000,000 events against one of 10,000",
    (*_figures("mongodb"), *_figures("sqlite")),
    runs,
)
