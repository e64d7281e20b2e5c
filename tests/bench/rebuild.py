"""A log of a million events folded anew, as an operator does it: how fast, in how much memory, and what is shown."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from shared.folds import PROJECTIONS
from shared.mongo.event_log import open_event_log
from tests.bench import folded
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_least, at_most
from tests.bench.processes import resident_kib
from tests.bench.stage import Installation, Stage
from tests.harness.process import COMMAND, ROOT

LOOK_EVERY_S = 0.1
TELL_EVERY = 100_000
NAMES = tuple(projection.model.name for projection in PROJECTIONS)
_PERCENT = re.compile(rb"(\d+)%")


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    events = stage.size(1_000_000, 50_000)
    installation = stage.installation()
    stage.tell(f"{events:,} events into the log")
    async with open_event_log(installation.settings) as event_log:
        await folded.fill(event_log, events, lambda last: last % TELL_EVERY or stage.tell(f"{last:,} of {events:,}"))
    found: dict[str, float] = {}
    for name in NAMES:
        stage.tell(f"carillon projections rebuild {name}")
        found |= await _rebuilt(installation, name, events)
    yield found


async def _rebuilt(installation: Installation, name: str, events: int) -> dict[str, float]:
    with _terminal() as (screen, leader):
        began = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            *(COMMAND, "projections", "rebuild", name), env=os.environ | installation.env, cwd=ROOT, stderr=leader
        )
        memory = await _watched(child)
        took_s = time.monotonic() - began
    if child.returncode:
        raise Failed(f"rebuilding {name} ended with {child.returncode}: {bytes(screen)[-500:]!r}")
    tenth = max(1, len(memory) // 10)
    return {
        f"{name}, rebuilt": events / took_s,
        f"{name}, memory": max(memory) / 1024,
        f"{name}, memory over that of the first tenth": max(memory[tenth:] or memory) / max(memory[:tenth]),
        f"{name}, steps of the bar": len(set(_PERCENT.findall(bytes(screen)))),
    }


async def _watched(child: asyncio.subprocess.Process) -> list[float]:
    """Its resident memory, KiB, until it ends."""
    ending = asyncio.create_task(child.wait())
    memory: list[float] = []
    while not (await asyncio.wait([ending], timeout=LOOK_EVERY_S))[0]:
        memory.append(resident_kib(child.pid))
    return memory


@contextmanager
def _terminal() -> Iterator[tuple[bytearray, int]]:
    """(what was shown on it, the file that a program writes to): the bar is for people only."""
    ours, theirs = pty.openpty()
    screen = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: screen.extend(os.read(ours, 65_536)))
    try:
        yield screen, theirs
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def _figures(name: str) -> tuple[Figure, ...]:
    return (
        Figure(f"{name}, rebuilt", "events/s", at_least(8_000)),
        Figure(f"{name}, memory", "MiB"),
        Figure(f"{name}, memory over that of the first tenth", "ratio", at_most(1.2)),
        Figure(f"{name}, steps of the bar", "", at_least(50)),
    )


BENCHMARK = Benchmark(
    "rebuild",
    "a log of 1,000,000 events on MongoDB folded anew by `carillon projections rebuild`, each model once",
    tuple(figure for name in NAMES for figure in _figures(name)),
    runs,
    is_long=True,
)
