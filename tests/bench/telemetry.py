"""What traces cost: the same load with none, and with a tenth of it traced and its journeys kept, in turns.

The two installations run side by side, so that whatever else the machine does concerns both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from shared.ports.broker import Broker
from shared.wiring import open_backends
from tests.bench.fanout import OPEN_STREAMS, Edge, an_edge
from tests.bench.measure import Benchmark, Figure, Sample, at_least
from tests.bench.pipeline import READERS, event
from tests.bench.processes import cpu_s, servers_cpu_s
from tests.bench.publisher import publish_all
from tests.bench.stage import Stage
from tests.bench.streams import Streams
from tests.harness.process import Service

VARIANTS = {"off": 0.0, "on": 0.1}
# The first events find cold caches and unused sockets.
WARM_UP_EVENTS = 500


@dataclass(slots=True)
class Pipeline:
    """Persister and edge of one installation, with readers, and what they have done so far."""

    broker: Broker
    streams: Streams
    services: list[Service]
    published: int = 0
    rates: list[float] = field(default_factory=list)
    used_us: list[float] = field(default_factory=list)

    async def carry(self, events: int) -> None:
        """Takes so many events from their publish to their readers."""
        await self.streams.expect(events)
        used_s = self._cpu_s()
        began = time.monotonic()
        numbers = range(self.published, self.published + events)
        self.published += events
        await publish_all(self.broker, map(event, numbers))
        arrivals = await self.streams.arrived()
        self.rates.append(events / (arrivals.last - began))
        self.used_us.append((self._cpu_s() - used_s) / events * 1_000_000)

    def _cpu_s(self) -> float:
        """Of all that carries an event but its publisher and its readers."""
        return sum(cpu_s(service.pid) for service in self.services) + servers_cpu_s()


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    turns, events, bursts = stage.size(10, 4), stage.size(4000, 2000), stage.size(20, 8)
    async with AsyncExitStack() as opened:
        pipelines = {name: await opened.enter_async_context(_pipeline(stage, name)) for name in VARIANTS}
        edges = {
            name: await opened.enter_async_context(an_edge(stage, "edge-queue", ratio))
            for name, ratio in VARIANTS.items()
        }
        for run in stage.runs():
            stage.tell(
                f"run {run}: {turns} turns of {events:,} events each, and {bursts} bursts to {OPEN_STREAMS:,} streams"
            )
            yield await _pipelines_in_turns(pipelines, turns, events) | await _edges_in_turns(edges, bursts)


async def _pipelines_in_turns(pipelines: dict[str, Pipeline], turns: int, events: int) -> dict[str, float]:
    for pipeline in pipelines.values():
        await pipeline.carry(WARM_UP_EVENTS)
        pipeline.rates.clear()
        pipeline.used_us.clear()
    for turn in range(turns):
        # Whoever comes second may find the caches of the first.
        for name in ("off", "on") if turn % 2 else ("on", "off"):
            await pipelines[name].carry(events)
    off, on = pipelines["off"], pipelines["on"]
    return {
        "pipeline, off": statistics.median(off.rates),
        "pipeline, on": statistics.median(on.rates),
        "pipeline, on to off": statistics.median(on.rates) / statistics.median(off.rates) * 100,
        "pipeline, processor": statistics.median(on.used_us) / statistics.median(off.used_us) * 100,
    }


async def _edges_in_turns(edges: dict[str, Edge], bursts: int) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in edges}
    used_s = dict.fromkeys(edges, 0.0)
    for turn in range(bursts):
        for name in ("off", "on") if turn % 2 else ("on", "off"):
            edge = edges[name]
            before = cpu_s(edge.pid)
            # Ten events, so that each burst has one that is traced.
            rates[name].append(await edge.frames_per_s(10))
            used_s[name] += cpu_s(edge.pid) - before
    return {
        "fan-out, on to off": statistics.median(rates["on"]) / statistics.median(rates["off"]) * 100,
        "fan-out, processor": used_s["on"] / used_s["off"] * 100,
    }


@asynccontextmanager
async def _pipeline(stage: Stage, name: str) -> AsyncIterator[Pipeline]:
    installation = stage.installation(trace_ratio=VARIANTS[name])
    async with (
        installation.running("persister", "edge") as services,
        Streams.clients() as streams,
        open_backends(installation.settings) as backends,
    ):
        await streams.open(services[1].url, installation.cookies([str(number) for number in range(READERS)]))
        yield Pipeline(backends.broker, streams, services)


BENCHMARK = Benchmark(
    "telemetry",
    "traces of a tenth of all events, with their journeys, against none; in turns",
    (
        Figure("pipeline, off", "events/s"),
        Figure("pipeline, on", "events/s"),
        Figure("pipeline, on to off", "%", at_least(95)),
        Figure("pipeline, processor", "%"),
        Figure("fan-out, on to off", "%", at_least(95)),
        Figure("fan-out, processor", "%"),
    ),
    runs,
)
