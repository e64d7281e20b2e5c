"""The edge's streams beside the same by other means, in one run on one machine."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from infra.local.servers import free_port
from shared.model.tags import EVERYONE
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
# Freed buffers of the handshakes go back within this.
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Server:
    """A process that streams on a port."""

    url: str
    pid: int


@dataclass(slots=True)
class Traffic:
    """Entries to everyone, through one server to all its streams."""

    broker: Broker
    streams: Streams
    pid: int
    open_streams: int
    position: int = 0

    async def frames_per_s(self, events: int) -> float:
        """From before the delivery of so many events at once until the last frame has come."""
        frames = events * self.open_streams
        await self.streams.expect(frames)
        entries = [samples.entry(self.position + number, EVERYONE) for number in range(1, events + 1)]
        self.position += events
        began = time.monotonic()
        await self.broker.deliver(entries)
        rate = frames / ((await self.streams.arrived()).last - began)
        await self.streams.check_each(self.position)
        return rate

    async def measured(self, events: int, burst: int) -> Sample:
        for _ in range(WARM_UP_EVENTS):
            await self.frames_per_s(1)
        used_s = cpu_s(self.pid)
        one_by_one = statistics.median([await self.frames_per_s(1) for _ in range(events)])
        used_s = cpu_s(self.pid) - used_s
        return {
            "": one_by_one,
            ", processor": used_s / (events * self.open_streams) * 1_000_000,
            ", burst": await self.frames_per_s(burst),
        }


async def runs(stage: Stage, open_streams: int) -> AsyncGenerator[Sample, None]:
    for run in stage.runs():
        sample: dict[str, float] = {}
        for name in (*EDGES, *RIVALS):
            stage.tell(f"run {run}: {open_streams:,} streams, {name}")
            found = await _measured(stage, name, open_streams)
            sample |= {f"{name}{figure}": value for figure, value in found.items()}
        yield sample | _ratios(sample)


async def _measured(stage: Stage, name: str, open_streams: int) -> Sample:
    installation = stage.installation(routing=name if name in EDGES else "edge-queue", connects_per_address_per_s=1e6)
    async with (
        open_backends(installation.settings) as backends,
        _server(installation, name) as server,
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


def _sizes(stage: Stage, open_streams: int) -> tuple[int, int]:
    """(events one by one, events at once): as many frames whatever the number of streams."""
    return max(5, stage.size(30_000, 10_000) // open_streams), max(5, stage.size(50_000, 20_000) // open_streams)


def _ratios(sample: Sample) -> dict[str, float]:
    usual = {figure: sample[f"starlette{figure}"] for figure in ("", ", burst", ", memory")}
    ratios: dict[str, float] = {}
    for edge in EDGES:
        ratios[f"{edge} : starlette, frames/s"] = sample[edge] / usual[""]
        ratios[f"{edge} : starlette, burst"] = sample[f"{edge}, burst"] / usual[", burst"]
        ratios[f"starlette : {edge}, memory"] = usual[", memory"] / sample[f"{edge}, memory"]
        ratios[f"{edge} : bare, frames/s"] = sample[edge] / sample["bare"]
    return ratios


def _server(installation: Installation, name: str) -> AbstractAsyncContextManager[Server]:
    return _edge(installation) if name in EDGES else _rival(installation, name)


@asynccontextmanager
async def _edge(installation: Installation) -> AsyncIterator[Server]:
    async with installation.running("edge") as (edge,):
        yield Server(edge.url, edge.pid)


@asynccontextmanager
async def _rival(installation: Installation, kind: str) -> AsyncIterator[Server]:
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.rival",
        kind,
        str(port),
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
            (", burst", "frames/s"),
            (", connects", "1/s"),
            (", memory", "KiB"),
        )
    ]
    ratios = []
    for edge in EDGES:
        ratios += [
            Figure(f"{edge} : starlette, frames/s", "times", at_least(1)),
            Figure(f"{edge} : starlette, burst", "times", at_least(1)),
            Figure(f"starlette : {edge}, memory", "times", at_least(1)),
            Figure(f"{edge} : bare, frames/s", "times"),
        ]
    return (*of_each, *ratios)


def _benchmark(open_streams: int) -> Benchmark:
    about = (
        f"events to {open_streams:,} open streams, beside sse-starlette on uvicorn and a bare protocol: one by one, "
        "then at once; memory a stream"
    )
    return Benchmark(f"rivals-{open_streams}", about, _figures(), partial(runs, open_streams=open_streams))


OF_1000, OF_5000 = _benchmark(1000), _benchmark(5000)
