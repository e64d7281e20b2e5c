"""Many clients at once, all of them behind, as after the restart of an edge."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from shared.mongo.event_log import open_event_log
from tests.bench.measure import Benchmark, Figure, Sample, at_most
from tests.bench.preload import cursor, fill
from tests.bench.stage import Installation, Stage
from tests.bench.streams import Streams

CLIENTS = 2000
# So many users follow one topic, and miss the same events.
GROUP = 20
# More than one page of the backlog, so that every client reads twice.
BEHIND = 300


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    groups = stage.size(CLIENTS, CLIENTS // 4) // GROUP
    depth, missed = stage.size(100_000, 20_000), groups * BEHIND
    installation = stage.installation()
    stage.tell(f"{depth + missed:,} events into the log, each client {BEHIND} of the last {missed:,} behind")
    async with open_event_log(installation.settings) as event_log:
        await fill(event_log, depth + missed, lambda position: _topic(position % groups))
        resume = await cursor(event_log, depth)
    for run in stage.runs():
        stage.tell(f"run {run}: {groups * GROUP:,} clients resume at once, with either routing")
        yield {
            routing: await _caught_up_s(installation.changed(routing=routing), resume, groups)
            for routing in ("user-queues", "edge-queue")
        }


async def _caught_up_s(installation: Installation, resume: str, groups: int) -> float:
    """Seconds from the first connect until the last client has everything that it missed."""
    cookies = [cookie for group in range(groups) for cookie in _cookies_of(installation, group)]
    async with installation.running("edge") as (edge,), Streams.clients() as streams:
        await streams.expect(len(cookies) * BEHIND)
        began = time.monotonic()
        await streams.open(edge.url, cookies, resume)
        took_s = (await streams.arrived()).last - began
        await streams.check_each(BEHIND)
        return took_s


def _cookies_of(installation: Installation, group: int) -> list[str]:
    users = [f"u{group}-{number}" for number in range(GROUP)]
    return installation.cookies(users, _topic(group))


def _topic(group: int) -> str:
    return f"topic:g{group}"


BENCHMARK = Benchmark(
    "resume",
    f"{CLIENTS:,} clients resume at once, each {BEHIND} events behind, until the last has caught up",
    (
        Figure("user-queues", "s", at_most(15)),
        Figure("edge-queue", "s", at_most(15)),
    ),
    runs,
)
