"""What readers that have stopped reading cost the others of the same edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from shared.model.tags import EVERYONE
from shared.ports.broker import Broker
from shared.wiring import open_backends
from tests.bench import samples
from tests.bench.measure import Benchmark, Figure, Sample, at_most, percentile
from tests.bench.stage import Stage
from tests.bench.streams import Streams

READERS, STALLED = 900, 100
# Of 4 KiB, so that within seconds a stalled reader has more waiting than it may.
TEXT, RATE_PER_S = "x" * 4096, 10
WARM_UP_EVENTS = 10


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    for run in stage.runs():
        found = {}
        for stalled in (False, True):
            stage.tell(
                f"run {run}: {RATE_PER_S} events/s to {READERS} readers and {STALLED} that read{' not' * stalled}"
            )
            found[stalled] = await _latencies(stage, stalled)
        p99 = {stalled: percentile(latencies, 0.99) * 1000 for stalled, latencies in found.items()}
        yield {
            "p50, all read": percentile(found[False], 0.5) * 1000,
            "p50, some stalled": percentile(found[True], 0.5) * 1000,
            "p99, all read": p99[False],
            "p99, some stalled": p99[True],
            "p99, stalled : read": p99[True] / p99[False],
        }


async def _latencies(stage: Stage, stalled: bool) -> list[float]:
    """Of each event, from when it was due to the last of the readers."""
    # A tenth of the usual bounds: what half a minute does to them, in seconds.
    installation = stage.installation(routing="edge-queue", buffer_max_bytes=256 * 1024, connects_per_address_per_s=1e6)
    async with (
        open_backends(installation.settings) as backends,
        installation.running("edge") as (edge,),
        Streams.clients() as readers,
        Streams.clients() as others,
    ):
        await readers.open(edge.url, installation.cookies([f"r{number}" for number in range(READERS)]))
        await others.open(edge.url, installation.cookies([f"s{number}" for number in range(STALLED)]))
        await _sent(backends.broker, readers, 0, WARM_UP_EVENTS)
        if stalled:
            await others.stall()
        events = RATE_PER_S * stage.size(20, 5)
        latencies = await _sent(backends.broker, readers, WARM_UP_EVENTS, events)
        await readers.check_each(WARM_UP_EVENTS + events)
        return latencies


async def _sent(broker: Broker, readers: Streams, before: int, events: int) -> list[float]:
    await readers.expect(events * READERS, stamped=True)
    began = time.monotonic()
    due = {number: began + index / RATE_PER_S for index, number in enumerate(range(before + 1, before + events + 1))}
    for number, at in due.items():
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        await broker.deliver([samples.entry(number, EVERYONE, TEXT)])
    arrived = (await readers.arrived()).stamps
    return [arrived[number] - at for number, at in due.items()]


BENCHMARK = Benchmark(
    "stalled",
    f"{READERS} readers beside {STALLED} that have stopped reading and are cut: from an event to its last reader",
    (
        Figure("p50, all read", "ms"),
        Figure("p50, some stalled", "ms"),
        Figure("p99, all read", "ms"),
        Figure("p99, some stalled", "ms"),
        Figure("p99, stalled : read", "times", at_most(2)),
    ),
    runs,
)
