"""The edge's streams beside the same by other means, in one run on one machine."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from infra.local.servers import free_port
from shared.model.tags import EVERYONE, user_tag
from shared.ports.broker import Broker
from shared.wiring import open_backends
from tests.bench import samples
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_least
from tests.bench.processes import cpu_s, resident_kib
from tests.bench.rival import READY
from tests.bench.stage import Installation, Stage
from tests.bench.streams import Streams
from tests.harness.process import ROOT

EDGES, RIVALS = ("edge-queue", "user-queues"), ("starlette", "bare")
READY_WITHIN_S = 20.0
# The first streams load modules and fill pools that all others share; the first events find cold caches.
WARM_UP_STREAMS, WARM_UP_EVENTS = 50, 3
# One by one, to a handful of streams.
MAX_EVENTS = 500
# Freed buffers of the handshakes go back within this.
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Server:
    """A process that streams on a port."""

    url: str
    pid: int


@dataclass(slots=True)
class Traffic:
    """Entries through one server to all its streams."""

    broker: Broker
    streams: Streams
    pid: int
    open_streams: int
    position: int = 0
    received: int = 0
    """Frames that each stream must have by now."""

    async def to_everyone(self, events: int) -> float:
        """Frames a second, from before the delivery of so many events at once until the last frame has come."""
        return await self._sent([EVERYONE] * events, events)

    async def to_each(self, events: int) -> float:
        """The same with so many events of their own for each user, in turn."""
        users = [user_tag(f"u{number}") for number in range(self.open_streams)]
        return await self._sent(users * events, events)

    async def _sent(self, audiences: Sequence[str], each: int) -> float:
        frames = each * self.open_streams
        await self.streams.expect(frames)
        entries = [samples.entry(self.position + number, to) for number, to in enumerate(audiences, start=1)]
        self.position += len(entries)
        self.received += each
        began = time.monotonic()
        await self.broker.deliver(entries)
        rate = frames / ((await self.streams.arrived()).last - began)
        await self.streams.check_each(self.received)
        return rate

    async def measured(self, events: int, burst: int, own: int) -> Sample:
        for _ in range(WARM_UP_EVENTS):
            await self.to_everyone(1)
        used_s = cpu_s(self.pid)
        one_by_one = statistics.median([await self.to_everyone(1) for _ in range(events)])
        one_by_one_s, used_s = cpu_s(self.pid) - used_s, cpu_s(self.pid)
        to_each = await self.to_each(own)
        return {
            "": one_by_one,
            ", processor": one_by_one_s / (events * self.open_streams) * 1_000_000,
            ", own": to_each,
            ", own, processor": (cpu_s(self.pid) - used_s) / (own * self.open_streams) * 1_000_000,
            ", burst": await self.to_everyone(burst),
        }


async def runs(stage: Stage, open_streams: int) -> AsyncGenerator[Sample, None]:
    for run in stage.runs():
        sample: dict[str, float] = {}
        for name in (*EDGES, *RIVALS):
            stage.tell(f"run {run}: {open_streams:,} streams, {name}")
            found = await measured(stage, name, open_streams)
            sample |= {f"{name}{figure}": value for figure, value in found.items()}
        yield sample | _ratios(sample)


async def measured(stage: Stage, name: str, open_streams: int) -> Sample:
    """One server's figures, by what follows its name in those of the benchmark."""
    installation = stage.installation(routing=name if name in EDGES else "edge-queue", connects_per_address_per_s=1e6)
    async with (
        open_backends(installation.settings) as backends,
        _server(installation, name, open_streams) as server,
        Streams.clients() as warm_up,
        Streams.clients() as streams,
    ):
        # What is open before the measured ones must not count their frames.
        await warm_up.open(server.url, installation.cookies([f"w{number}" for number in range(WARM_UP_STREAMS)]))
        await warm_up.close()
        empty_kib = await _rss_kib(server.pid)
        cookies = installation.cookies([f"u{number}" for number in range(open_streams)])
        began = time.monotonic()
        connects_per_s = open_streams / (await streams.open(server.url, cookies) - began)
        memory_kib = (await _rss_kib(server.pid) - empty_kib) / open_streams
        traffic = Traffic(backends.broker, streams, server.pid, open_streams)
        speeds = await traffic.measured(*_sizes(stage, open_streams))
        return {**speeds, ", connects": connects_per_s, ", memory": memory_kib}


def _sizes(stage: Stage, open_streams: int) -> tuple[int, int, int]:
    """Events (one by one, at once, of each user's own): as many frames whatever the number of streams."""
    one_by_one, burst, own = stage.size(30_000, 10_000), stage.size(50_000, 20_000), stage.size(20_000, 10_000)
    return (
        min(MAX_EVENTS, max(5, one_by_one // open_streams)),
        max(5, burst // open_streams),
        max(2, own // open_streams),
    )


def _ratios(sample: Sample) -> dict[str, float]:
    usual = {figure: sample[f"starlette{figure}"] for figure in ("", ", own", ", burst", ", memory")}
    ratios: dict[str, float] = {}
    for edge in EDGES:
        ratios[f"{edge} : starlette, frames/s"] = sample[edge] / usual[""]
        ratios[f"{edge} : starlette, own"] = sample[f"{edge}, own"] / usual[", own"]
        ratios[f"{edge} : starlette, burst"] = sample[f"{edge}, burst"] / usual[", burst"]
        ratios[f"starlette : {edge}, memory"] = usual[", memory"] / sample[f"{edge}, memory"]
        ratios[f"{edge} : bare, frames/s"] = sample[edge] / sample["bare"]
    return ratios


def _server(installation: Installation, name: str, users: int) -> AbstractAsyncContextManager[Server]:
    return _edge(installation) if name in EDGES else _rival(installation, name, users)


@asynccontextmanager
async def _edge(installation: Installation) -> AsyncIterator[Server]:
    async with installation.running("edge") as (edge,):
        yield Server(edge.url, edge.pid)


@asynccontextmanager
async def _rival(installation: Installation, kind: str, users: int) -> AsyncIterator[Server]:
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.rival",
        kind,
        str(port),
        str(users),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | installation.env,
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(READY_WITHIN_S):
            line = await child.stdout.readline()
        if line.decode().strip() != READY:
            raise Failed(f"{kind} did not start: install the bench extra (`make bench` does)")
        yield Server(f"http://127.0.0.1:{port}", child.pid)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _rss_kib(pid: int) -> float:
    await asyncio.sleep(SETTLE_S)
    return resident_kib(pid)


def _figures() -> tuple[Figure, ...]:
    of_each = [
        Figure(f"{name}{figure}", unit)
        for name in (*EDGES, *RIVALS)
        for figure, unit in (
            ("", "frames/s"),
            (", processor", "µs/frame"),
            (", own", "frames/s"),
            (", own, processor", "µs/frame"),
            (", burst", "frames/s"),
            (", connects", "1/s"),
            (", memory", "KiB"),
        )
    ]
    ratios = []
    for edge in EDGES:
        ratios += [
            Figure(f"{edge} : starlette, frames/s", "times", at_least(1)),
            Figure(f"{edge} : starlette, own", "times", at_least(1)),
            Figure(f"{edge} : starlette, burst", "times", at_least(1)),
            Figure(f"starlette : {edge}, memory", "times", at_least(1)),
            Figure(f"{edge} : bare, frames/s", "times"),
        ]
    return (*of_each, *ratios)


def _benchmark(open_streams: int) -> Benchmark:
    about = (
        f"{open_streams:,} open streams, beside sse-starlette on uvicorn and a bare protocol: events to everyone "
        "one by one and at once (burst), events of each user's own; memory a stream"
    )
    return Benchmark(f"rivals-{open_streams}", about, _figures(), partial(runs, open_streams=open_streams))


OF_1000, OF_5000 = _benchmark(1000), _benchmark(5000)
