"""Whatever takes spans may be silent, away or locked: events go their way as before, and what is lost is counted."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest

from tests.eventually import WITHIN_S, answered
from tests.harness.collector import Collector, collecting
from tests.harness.platform import DevPlatform

EVENTS = 150
AT_ONCE = 10
# A platform that waited for its spans would take ten seconds for the first batch; a busy machine, nearly as long.
TIMES_AS_LONG = 5.0
AT_LEAST_S = 9.0
ENDED_WITHIN_S = 20.0


@contextmanager
def locked(journeys: Path) -> Iterator[None]:
    """Nobody else may write the store meanwhile."""
    with closing(sqlite3.connect(journeys, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


@pytest.mark.parametrize("trouble", ["collector silent", "collector killed", "journeys locked"])
async def test_events_go_on_as_before_and_what_is_lost_is_counted(tmp_path: Path, trouble: str) -> None:
    with collecting(tmp_path) as collector:
        settings = {"otlp_endpoint": collector.endpoint("grpc"), "otlp_protocol": "grpc"}
        async with DevPlatform(tmp_path, **settings) as platform:
            await platform.start()
            healthy_s = await delivered_all(platform)
            to = "journeys" if trouble == "journeys locked" else "otlp"
            assert await dropped(platform, to) == 0
            away: Callable[[Collector], None] = Collector.pause if trouble == "collector silent" else Collector.kill
            if to == "otlp":
                away(collector)
            with locked(platform.data_dir / "journeys.db") if to == "journeys" else nullcontext():
                troubled_s = await delivered_all(platform)

                async def lost_some() -> None:
                    assert await dropped(platform, to) > 0

                await answered(lost_some, AssertionError)
            if trouble == "collector silent":
                collector.go_on()
            platform.dev.terminate()
            assert await platform.dev.ended(ENDED_WITHIN_S) == 0, "a process that ends waits for no collector"
    assert troubled_s < max(TIMES_AS_LONG * healthy_s, AT_LEAST_S), (healthy_s, troubled_s)
    # One more where it lasts for over a minute.
    assert platform.dev.output.count(f"spans for {to} are dropped") in (1, 2), "one line an incident"


async def delivered_all(platform: DevPlatform) -> float:
    """How long it took until every one of some traced events was on a stream."""
    began = time.monotonic()
    async with platform.publisher() as publisher, platform.readers() as readers:
        reader = await readers.open("alice")
        numbers = iter(range(EVENTS))

        async def publish_some() -> None:
            for _ in numbers:
                await publisher.publish("user:alice")

        await asyncio.gather(*(publish_some() for _ in range(AT_ONCE)))

        async def all_came() -> None:
            assert len(reader.reading.deliveries) >= EVENTS

        await answered(all_came, AssertionError)
    return time.monotonic() - began


async def dropped(platform: DevPlatform, to: str) -> float:
    async with httpx.AsyncClient(timeout=WITHIN_S) as client:
        page = (await client.get(f"{platform.dev.url}/metrics")).text
    found = re.search(rf'^carillon_spans_dropped_total{{to="{to}"}} (\S+)$', page, re.MULTILINE)
    assert found
    return float(found[1])
