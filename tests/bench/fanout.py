"""One event to many open streams of one edge."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.model.tags import EVERYONE
from shared.ports.broker import Broker
from shared.wiring import open_backends
from tests.bench import samples
from tests.bench.measure import Benchmark, Figure, Sample, at_least
from tests.bench.processes import cpu_s
from tests.bench.stage import Stage
from tests.bench.streams import Streams

OPEN_STREAMS = 1000
# The first events find cold caches and unused sockets.
WARM_UP_EVENTS = 3


@dataclass(slots=True)
class Edge:
    """An edge with its streams open."""

    broker: Broker
    streams: Streams
    pid: int
    position: int = 0

    async def frames_per_s(self, events: int) -> float:
        """Frames a second, from before the delivery of so many events at once until the last frame has come."""
        frames = events * OPEN_STREAMS
        await self.streams.expect(frames)
        entries = [samples.entry(self.position + number, EVERYONE) for number in range(1, events + 1)]
        self.position += events
        began = time.monotonic()
        await self.broker.deliver(entries)
        rate = frames / ((await self.streams.arrived()).last - began)
        await self.streams.check_each(self.position)
        return rate


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    events, burst = stage.size(30, 10), stage.size(50, 20)
    for run in stage.runs():
        sample: dict[str, float] = {}
        for routing in ("edge-queue", "user-queues"):
            stage.tell(
                f"run {run}: {events} events one by one to {OPEN_STREAMS:,} streams, then {burst} at once, {routing}"
            )
            async with an_edge(stage, routing) as edge:
                for _ in range(WARM_UP_EVENTS):
                    await edge.frames_per_s(1)
                used_s = cpu_s(edge.pid)
                sample[routing] = statistics.median([await edge.frames_per_s(1) for _ in range(events)])
                used_s = cpu_s(edge.pid) - used_s
                sample[f"{routing}, processor"] = used_s / (events * OPEN_STREAMS) * 1_000_000
                sample[f"{routing}, burst"] = await edge.frames_per_s(burst)
        yield sample


@asynccontextmanager
async def an_edge(stage: Stage, routing: str, trace_ratio: float = 0.1) -> AsyncIterator[Edge]:
    """An edge of its own installation, with a thousand streams."""
    installation = stage.installation(routing=routing, trace_ratio=trace_ratio)
    users = [f"u{number}" for number in range(OPEN_STREAMS)]
    async with (
        installation.running("edge") as (edge,),
        Streams.clients() as streams,
        open_backends(installation.settings) as backends,
    ):
        await streams.open(edge.url, installation.cookies(users))
        yield Edge(backends.broker, streams, edge.pid)


BENCHMARK = Benchmark(
    "fanout",
    f"one event to {OPEN_STREAMS:,} open streams of one edge, from its delivery to the last frame",
    (
        Figure("edge-queue", "frames/s", at_least(25_000)),
        Figure("edge-queue, processor", "µs/frame"),
        Figure("edge-queue, burst", "frames/s"),
        Figure("user-queues", "frames/s"),
        Figure("user-queues, processor", "µs/frame"),
        Figure("user-queues, burst", "frames/s"),
    ),
    runs,
)
