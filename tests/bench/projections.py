"""How fast read models follow the log, by themselves and beside the append, and how far they are behind it."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from services.persister.projections.rebuilding import rebuilt
from shared.folds import PROJECTIONS
from shared.ports import read_models
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.wiring import Backends, open_backends
from tests.bench import folded
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_least, at_most, percentile
from tests.bench.processes import cpu_s
from tests.bench.publisher import publish_all
from tests.bench.stage import Installation, Stage

DONE_WITHIN_S = 120.0
LOOK_EVERY_S = 0.005
# The load under which models may be so far behind.
RATE_PER_S, AT_ONCE, LOAD_S = 1000, 10, 8.0
READS, WARM_UP, READS_PER_S = 400, 20, 50
NAMES = tuple(projection.model.name for projection in PROJECTIONS)


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    # So that the stream that is read has 10,000 events.
    folds, appends = stage.size(100_000, 20_000), stage.size(30_000, 6_000)
    alone = stage.installation()
    async with open_backends(alone.settings) as backends:
        stage.tell(f"{folds:,} events into the log")
        await folded.fill(backends.event_log, folds)
        for run in stage.runs():
            stage.tell(f"run {run}: each model built of {folds:,} events")
            rates = await _rebuild_rates(backends, folds)
            stage.tell(f"run {run}: {appends:,} events from the queue into the log and the models")
            beside = await _beside_the_append(stage.installation(), appends)
            stage.tell(f"run {run}: {RATE_PER_S:,} events a second for {LOAD_S:g} s")
            lag = await _lag(stage.installation())
            stage.tell(f"run {run}: {READS} snapshots of a stream of {folds // folded.LONG_EVERY:,} events")
            snapshots = await _snapshot_ms(alone)
            yield {**rates, **beside, **lag, **snapshots}


async def _rebuild_rates(backends: Backends, events: int) -> dict[str, float]:
    """Events a second, and µs of this process's processor an event."""
    found = {}
    for projection in PROJECTIONS:
        began, used_s = time.monotonic(), time.process_time()
        await rebuilt(backends.event_log, backends.read_models, projection, lambda _: None)
        name = projection.model.name
        found[f"{name}, rebuilt"] = events / (time.monotonic() - began)
        found[f"{name}, processor"] = (time.process_time() - used_s) / events * 1_000_000
    return found


async def _snapshot_ms(installation: Installation) -> dict[str, float]:
    """What a client waits for the state of a long stream."""
    [cookie] = installation.cookies([folded.READER])
    took: list[float] = []
    async with (
        installation.running("edge") as [edge],
        httpx.AsyncClient(base_url=edge.url, headers={"Cookie": cookie}, trust_env=False) as client,
    ):
        began = time.perf_counter()
        for number in range(WARM_UP + READS):
            due = began + number / READS_PER_S
            await asyncio.sleep(due - time.perf_counter())
            answer = await client.get(f"/v1/streams/{folded.LONG}")
            took.append((time.perf_counter() - due) * 1000)
            if answer.status_code != httpx.codes.OK:
                raise Failed(f"a snapshot was answered {answer.status_code}: {answer.text}")
    took = took[WARM_UP:]
    return {"snapshot, p50": percentile(took, 0.5), "snapshot, p99": percentile(took, 0.99)}


async def _beside_the_append(installation: Installation, events: int) -> dict[str, float]:
    """From a full queue: until all is in the log, and until both models hold it."""
    async with open_backends(installation.settings) as backends:
        await publish_all(backends.broker, map(folded.event, range(1, events + 1)))
        async with installation.started("persister") as service, asyncio.timeout(DONE_WITHIN_S):
            began = await _reached(backends, ["log"], 1)
            used_s = cpu_s(service.pid)
            appended = await _reached(backends, ["log"], events)
            followed = await _reached(backends, NAMES, events)
            used_s = cpu_s(service.pid) - used_s
    return {
        "beside the append": events / (followed - began),
        "the append beside it": events / (appended - began),
        "persister, processor": used_s / events * 1_000_000,
    }


async def _reached(backends: Backends, names: Sequence[str], goal: int) -> float:
    """When all of these were at this position."""
    while True:
        places = await _places(backends.event_log, backends.read_models)
        if min(places[name] for name in names) >= goal:
            return time.monotonic()
        await asyncio.sleep(LOOK_EVERY_S)


async def _places(event_log: EventLog, models: read_models.ReadModels) -> Mapping[str, int]:
    """How far the log and each model are."""
    last = (await event_log.head()).last
    current = {
        one.model.name: one.position for one in await models.generations() if one.stage is read_models.Stage.CURRENT
    }
    return {"log": last, **{name: current.get(name, 0) for name in NAMES}}


@dataclass
class Track:
    """Where somebody was, and when: both rise."""

    times: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def add(self, at: float, position: int) -> None:
        self.times.append(at)
        self.positions.append(position)

    def reached(self, position: int) -> float | None:
        """When it was first seen there or beyond."""
        place = bisect.bisect_left(self.positions, position)
        return self.times[place] if place < len(self.times) else None


async def _lag(installation: Installation) -> dict[str, float]:
    async with open_backends(installation.settings) as backends, installation.started("persister"):
        async with asyncio.timeout(DONE_WITHIN_S):
            await publish_all(backends.broker, map(folded.event, range(1, 501)))
            await _reached(backends, NAMES, 500)
        tracks = {name: Track() for name in ("log", *NAMES)}
        numbers = range(501, 501 + int(RATE_PER_S * LOAD_S))
        async with asyncio.timeout(LOAD_S + DONE_WITHIN_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(_watch(backends, tracks, numbers[-1]))
            tasks.create_task(_publish_steadily(backends.broker, numbers))
    lags = [1000 * lag for name in NAMES for lag in _lags(tracks["log"], tracks[name])]
    return {"lag, p50": percentile(lags, 0.5), "lag, p99": percentile(lags, 0.99)}


async def _watch(backends: Backends, tracks: Mapping[str, Track], last: int) -> None:
    """Returns once each has been seen at the last position."""
    while any(track.reached(last) is None for track in tracks.values()):
        places = await _places(backends.event_log, backends.read_models)
        for name, track in tracks.items():
            track.add(time.monotonic(), places[name])
        await asyncio.sleep(LOOK_EVERY_S)


async def _publish_steadily(broker: Broker, numbers: range) -> None:
    """So many events a second, some together, each when it is due."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as publishing:
        for start in range(0, len(numbers), AT_ONCE):
            await asyncio.sleep(max(0.0, began + start / RATE_PER_S - time.monotonic()))
            for number in numbers[start : start + AT_ONCE]:
                publishing.create_task(broker.publish(folded.event(number)))


def _lags(log: Track, model: Track) -> list[float]:
    """For each place at which the log was seen: how much later the model was seen there."""
    found = []
    for seen, last in zip(log.times, log.positions, strict=True):
        reached = model.reached(last)
        if reached is None:
            raise Failed(f"a model was never seen at {last}")
        found.append(max(0.0, reached - seen))
    return found


BENCHMARK = Benchmark(
    "projections",
    "read models built of a log, and followed while it grows, on MongoDB",
    (
        *(Figure(f"{name}, rebuilt", "events/s", at_least(8_000)) for name in NAMES),
        *(Figure(f"{name}, processor", "µs/event") for name in NAMES),
        Figure("beside the append", "events/s", at_least(8_000)),
        Figure("the append beside it", "events/s"),
        Figure("persister, processor", "µs/event"),
        Figure("lag, p50", "ms"),
        Figure("lag, p99", "ms", at_most(100)),
        Figure("snapshot, p50", "ms"),
        Figure("snapshot, p99", "ms", at_most(10)),
    ),
    runs,
)
