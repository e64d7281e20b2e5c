"""How long an event takes from its HTTP request to its reader's frame, at a rate that is no load."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.bench.measure import Benchmark, Figure, Sample, at_most, percentile
from tests.bench.requests import Requests
from tests.bench.stage import PRODUCER_KEY, Stage, signed_cookies
from tests.bench.streams import Streams
from tests.harness.platform import DevPlatform

RATE_PER_S = 300
READERS = 100
# Connections, caches and the first batches of each process.
WARM_UP_S = 2


@dataclass(frozen=True, slots=True)
class Target:
    """A platform that runs, and how to get in."""

    ingest_url: str
    producer_key: str
    edge_url: str
    cookies: list[str]


async def four_services(stage: Stage) -> AsyncGenerator[Sample, None]:
    installation = stage.installation()
    async with installation.running("ingest", "persister", "edge", "console") as (ingest, _, edge, _):
        cookies = installation.cookies(_users())
        async with contextlib.aclosing(_runs(stage, Target(ingest.url, PRODUCER_KEY, edge.url, cookies))) as samples:
            async for sample in samples:
                yield sample


async def embedded(stage: Stage) -> AsyncGenerator[Sample, None]:
    folder = stage.folder / "dev"
    folder.mkdir()
    async with DevPlatform(folder) as platform:
        stage.tell("starting carillon dev")
        await platform.start()
        cookies = signed_cookies(platform.jwt_secret, _users())
        target = Target(platform.ingest_url, platform.producer_key, platform.edge_urls[0], cookies)
        async with contextlib.aclosing(_runs(stage, target)) as samples:
            async for sample in samples:
                yield sample


async def _runs(stage: Stage, target: Target) -> AsyncGenerator[Sample, None]:
    events = RATE_PER_S * stage.size(10, 4)
    async with Streams.clients() as streams, _requests(target) as requests:
        await streams.open(target.edge_url, target.cookies)
        stage.tell(f"warming up for {WARM_UP_S} s")
        await _latencies(streams, requests, range(RATE_PER_S * WARM_UP_S))
        for run in stage.runs():
            stage.tell(f"run {run}: {events:,} requests at {RATE_PER_S}/s")
            first = run * 1_000_000
            latencies = await _latencies(streams, requests, range(first, first + events))
            yield {name: percentile(latencies, share) * 1000 for name, share in PERCENTILES.items()}


async def _latencies(streams: Streams, requests: Requests, numbers: range) -> list[float]:
    await streams.expect(len(numbers), stamped=True)
    due = await requests.at_rate(RATE_PER_S, {number: f"user:{number % READERS}" for number in numbers})
    arrived = (await streams.arrived()).stamps
    return [arrived[number] - at for number, at in due.items()]


@asynccontextmanager
async def _requests(target: Target) -> AsyncIterator[Requests]:
    requests = Requests(target.ingest_url, target.producer_key)
    try:
        yield requests
    finally:
        requests.close()


def _users() -> list[str]:
    return [str(number) for number in range(READERS)]


PERCENTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def _figures(p99_ms: float) -> tuple[Figure, ...]:
    return Figure("p50", "ms"), Figure("p99", "ms", at_most(p99_ms)), Figure("max", "ms")


FOUR_SERVICES = Benchmark(
    "latency",
    f"HTTP request to SSE frame at {RATE_PER_S} events/s, open loop, on the four services",
    _figures(50),
    four_services,
)
EMBEDDED = Benchmark(
    "latency-dev",
    f"HTTP request to SSE frame at {RATE_PER_S} events/s, open loop, on carillon dev with its data on disk",
    _figures(15),
    embedded,
)
