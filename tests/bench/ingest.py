"""How many events one ingest process accepts, each confirmed: one a request, and in batches."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

from tests.bench import samples
from tests.bench.measure import Benchmark, Figure, Sample, at_least, percentile
from tests.bench.processes import cpu_s
from tests.bench.requests import BATCH, STRUCTURED, Requests
from tests.bench.stage import PRODUCER_KEY, Stage
from tests.harness.process import Service

BATCH_EVENTS = 100
# As many producers as a busy site has, each waiting for its answer before it sends the next.
SINGLE_LINES, BATCH_LINES = 50, 8
MEASURED_S = 8


@dataclass(frozen=True, slots=True)
class Way:
    """How events are sent."""

    name: str
    content_type: str
    events: int
    """In one request."""
    lines: int
    body: Callable[[Iterator[int]], bytes]


def _single(numbers: Iterator[int]) -> bytes:
    return json.dumps(samples.attributes(next(numbers), "user:alice")).encode()


def _batch(numbers: Iterator[int]) -> bytes:
    chosen = itertools.islice(numbers, BATCH_EVENTS)
    return json.dumps([samples.attributes(number, "user:alice") for number in chosen]).encode()


WAYS = (
    Way("single", STRUCTURED, 1, SINGLE_LINES, _single),
    Way("batch of 100", BATCH, BATCH_EVENTS, BATCH_LINES, _batch),
)


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    numbers = itertools.count()
    # Alone: the persister would share its two cores, and is measured by itself.
    async with stage.installation().running("ingest") as (ingest,):
        for _ in stage.runs():
            sample: dict[str, float] = {}
            for way in WAYS:
                sample |= await _measured(ingest, way, numbers, stage.size(MEASURED_S, 2))
            yield sample


async def _measured(ingest: Service, way: Way, numbers: Iterator[int], for_s: float) -> Sample:
    bodies = iter(lambda: way.body(numbers), b"")
    with contextlib.closing(Requests(ingest.url, PRODUCER_KEY)) as requests:
        await requests.as_fast(bodies, way.content_type, way.lines, 1.0)
        before_s = cpu_s(ingest.pid)
        took_s, answered = await requests.as_fast(bodies, way.content_type, way.lines, for_s)
        cpu = (cpu_s(ingest.pid) - before_s) / (answered * way.events) * 1_000_000
        rate = answered / took_s
        latencies = await requests.latencies(bodies, way.content_type, rate / 2, for_s)
    return {
        f"{way.name}, accepted": rate * way.events,
        f"{way.name}, ingest's processor": cpu,
        f"{way.name}, median at half of that": percentile(latencies, 0.5) * 1000,
        f"{way.name}, p99 at half of that": percentile(latencies, 0.99) * 1000,
    }


def _figures(way: Way, target: float) -> tuple[Figure, ...]:
    return (
        Figure(f"{way.name}, accepted", "events/s", at_least(target)),
        Figure(f"{way.name}, ingest's processor", "µs/event"),
        Figure(f"{way.name}, median at half of that", "ms"),
        Figure(f"{way.name}, p99 at half of that", "ms"),
    )


BENCHMARK = Benchmark(
    "ingest",
    "POST /v1/events of one ingest process on RabbitMQ and MongoDB, each event confirmed by a quorum queue",
    (*_figures(WAYS[0], 1500), *_figures(WAYS[1], 6000)),
    runs,
)
