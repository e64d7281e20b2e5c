"""How long the console's pages take where the log holds 100,000 events, on either storage."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace

from quart.typing import TestClientProtocol as Client

from services.console.service import open_console
from services.persister.projections.rebuilding import rebuilt
from shared.folds.streams import STREAMS
from shared.model.entry import Entry
from shared.model.settings import Settings
from shared.ports.broker import DeadLetter
from shared.web.app import make_app
from shared.wiring import Backends, open_backends
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_most
from tests.bench.preload import BATCH_ENTRIES, LEASE_S
from tests.bench.samples import entry
from tests.bench.stage import Stage

EVENTS = 100_000
# Every tenth event is of a run of ten; one run has 500 steps.
RUN_EVERY, RUN_EVENTS, STEPS = 10, 10, 500
LETTERS = 200
REPEATS = 5
KEY = "key-of-bench"
STATUSES = ("running", "completed", "failed")

PAGES = {
    "overview": "",
    "events": "/events",
    "events by type, rare": "/events?type=nothing.*",
    "events by tag, rare": "/events?tag=user:nobody",
    "events by tag": "/events?tag=user:7",
    "events by subject": "/events?subject=job/3",
    "events by id": "/events?find=nothing",
    "events until": "/events?until=2020-01-01T00:00:00Z",
    "event": "/events/50000",
    "runs": "/runs",
    "runs by status": "/runs?prefix=job/&status=failed",
    "run of 500 steps": "/runs/run/big",
    "connections": "/connections",
    "dead letters": "/dead",
    "replay": "/replay",
}


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    chosen = {"operator_keys": f"bench={KEY}", "backend_timeout_s": 10}
    mongo = stage.installation(**chosen).settings
    sqlite = Settings.load(backends="embedded", data_dir=stage.folder / "console", **chosen)
    async with AsyncExitStack() as opened:
        clients = {}
        for name, settings in (("mongodb", mongo), ("sqlite", sqlite)):
            backends = await opened.enter_async_context(open_backends(settings))
            stage.tell(f"{EVENTS:,} events and {LETTERS} dead letters into {name}")
            await _filled(backends)
            probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
            pages = await opened.enter_async_context(open_console(settings, backends, probes, asyncio.Event()))
            clients[name] = make_app("console", settings, pages, probes={}).test_client()
            await clients[name].post("/console/login", form={"key": KEY})
        for run in stage.runs():
            stage.tell(f"run {run}: {len(PAGES)} pages, {REPEATS} times each")
            yield {f"{name}, {page}": await _took_ms(client, PAGES[page])
                   for name, client in clients.items() for page in PAGES}  # fmt: skip


async def _took_ms(client: Client, path: str) -> float:
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = await client.get(f"/console{path}")
        await answer.get_data()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise Failed(f"/console{path} answered {answer.status_code}")
    return statistics.median(took)


async def _filled(backends: Backends) -> None:
    log = backends.event_log
    fence = await log.claim("bench", LEASE_S, force=True)
    assert fence is not None
    for first in range(1, EVENTS + 1, BATCH_ENTRIES):
        await log.append(fence, [_entry(position) for position in range(first, first + BATCH_ENTRIES)])
    await rebuilt(log, backends.read_models, STREAMS, lambda _: None)
    letters = (
        DeadLetter(b'{"id": "%d"}' % number, "invalid-event", "type: it is missing") for number in range(LETTERS)
    )
    for letter in letters:
        await backends.broker.park(letter)


def _entry(position: int) -> Entry:
    plain = entry(position, f"user:{position % 1000}")
    if position == EVENTS:
        steps = {f"s{at}": {"status": "completed", "needs": [f"s{at // 3}"] if at else []} for at in range(STEPS)}
        return _of_run(plain, "run/big", 1, {"status": "running", "steps": steps})
    if position % RUN_EVERY:
        return plain
    turn = position // RUN_EVERY - 1
    run, version = divmod(turn, RUN_EVENTS)
    status = STATUSES[run % len(STATUSES)] if version == RUN_EVENTS - 1 else "running"
    return _of_run(plain, f"job/{run}", version + 1, {"status": status, "progress": 10 * version})


def _of_run(plain: Entry, subject: str, version: int, told: dict[str, object]) -> Entry:
    event = json.dumps(json.loads(plain.event) | {"subject": subject, "data": told}).encode()
    return replace(plain, subject=subject, version=version, event=event)


BENCHMARK = Benchmark(
    "console",
    "the console's pages over 100,000 events, 1,000 runs and 200 dead letters, in one process with its client",
    tuple(Figure(f"{name}, {page}", "ms", at_most(500)) for name in ("mongodb", "sqlite") for page in PAGES),
    runs,
)
