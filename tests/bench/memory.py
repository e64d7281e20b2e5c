"""What an open, idle stream costs the edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from tests.bench.measure import Benchmark, Figure, Sample, at_most
from tests.bench.processes import resident_kib
from tests.bench.stage import Installation, Stage
from tests.bench.streams import Streams

# The first streams load modules and fill pools that all others share.
WARM_UP_STREAMS = 50
COUNTS = (1000, 2000)
# Freed buffers of the handshakes go back within this.
SETTLE_S = 1.0


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    for run in stage.runs():
        stage.tell(f"run {run}: {COUNTS[0]:,}, then {COUNTS[-1]:,} idle streams")
        installation = stage.installation()
        async with installation.running("edge") as (edge,), Streams.clients() as streams:
            await streams.open(edge.url, installation.cookies(_users(0, WARM_UP_STREAMS)))
            empty_kib = await _rss_kib(edge.pid)
            sample = {"edge, empty": empty_kib / 1024}
            opened = 0
            for count in COUNTS:
                await _open(streams, edge.url, installation, opened, count)
                opened = count
                sample[f"a stream of {count}"] = (await _rss_kib(edge.pid) - empty_kib) / count
            yield sample


async def _open(streams: Streams, url: str, installation: Installation, opened: int, wanted: int) -> None:
    users = _users(WARM_UP_STREAMS + opened, WARM_UP_STREAMS + wanted)
    await streams.open(url, installation.cookies(users))


async def _rss_kib(pid: int) -> float:
    await asyncio.sleep(SETTLE_S)
    return resident_kib(pid)


def _users(first: int, end: int) -> list[str]:
    return [f"u{number}" for number in range(first, end)]


BENCHMARK = Benchmark(
    "memory",
    "resident memory of the edge for each open stream, every stream another user with a queue of their own",
    (
        Figure("a stream of 1000", "KiB", at_most(40)),
        Figure("a stream of 2000", "KiB", at_most(40)),
        Figure("edge, empty", "MiB"),
    ),
    runs,
)
