"""From a producer's AMQP publish to the frame at its reader, through everything between."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from shared.model.event import Event
from shared.wiring import open_backends
from tests.bench import samples
from tests.bench.measure import Benchmark, Figure, Sample, at_least
from tests.bench.processes import cpu_s
from tests.bench.publisher import publish_all
from tests.bench.stage import Stage
from tests.bench.streams import Streams

READERS = 100


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    events = stage.size(20_000, 5_000)
    installation = stage.installation()
    users = [str(number) for number in range(READERS)]
    async with (
        installation.running("persister", "edge") as (persister, edge),
        Streams.clients() as streams,
        open_backends(installation.settings) as backends,
    ):
        await streams.open(edge.url, installation.cookies(users))
        for run in stage.runs():
            stage.tell(f"run {run}: {events:,} events to {READERS} readers")
            await streams.expect(events)
            used_s = [cpu_s(service.pid) for service in (persister, edge)]
            began = time.monotonic()
            await publish_all(backends.broker, map(event, range(run * events, (run + 1) * events)))
            published = time.monotonic()
            arrivals = await streams.arrived()
            used_s = [cpu_s(service.pid) - before for service, before in zip((persister, edge), used_s, strict=True)]
            await streams.check_each(run * events // READERS)
            yield {
                "publish to stream": events / (arrivals.last - began),
                "publish": events / (published - began),
                "first frame": (arrivals.first - began) * 1000,
                "persister, processor": used_s[0] / events * 1_000_000,
                "edge, processor": used_s[1] / events * 1_000_000,
            }


def event(number: int) -> Event:
    """The event number `number`, for one of the readers."""
    return samples.event(number, f"user:{number % READERS}")


BENCHMARK = Benchmark(
    "pipeline",
    "confirmed AMQP publishes to SSE readers; publisher, persister, edge and readers each a process",
    (
        Figure("publish to stream", "events/s", at_least(2_500)),
        Figure("publish", "events/s"),
        Figure("first frame", "ms"),
        Figure("persister, processor", "µs/event"),
        Figure("edge, processor", "µs/event"),
    ),
    runs,
)
