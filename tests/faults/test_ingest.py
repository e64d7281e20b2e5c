"""Ingests that are killed under load, that get the same at the same time, and that are flooded while nothing moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.faults.load import under_load
from tests.faults.statistics import resident_mib
from tests.harness.platform import PRODUCER_KEY, FourServices, four_services
from tests.harness.publisher import Answer, Publisher, new_event, new_traceparent
from tests.proxy import proxy_before

pytestmark = pytest.mark.servers

KILLS, BATCH_EVENTS = 5, 25
# Batches side by side and one after the other: 120 MB in all, and at a time twice the events that may be under way.
FLOOD_LINES, FLOOD_TIMES, FLOOD_EVENTS, FLOOD_BYTES = 100, 3, 40, 10_000
# 32 MB of bodies, the same as objects and as what the driver has to send, and what Python keeps of what has passed.
FLOOD_MAX_MIB = 250.0
REFUSED_WITHIN_S = 180.0


def traced_batch(size: int) -> list[dict[str, Any]]:
    """Events with contexts of their own, so that the log's is known."""
    return [new_event(f"user:u{number % 3}", traceparent=new_traceparent()) for number in range(size)]


async def test_an_ingest_that_is_killed_again_and_again_loses_nothing_that_it_accepted(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    moments = random.Random(3)
    async with four_services(tmp_path, rabbitmq.url, mongodb.url) as platform:
        [ingest] = platform.ingests
        async with under_load(platform) as load:
            stopping = asyncio.Event()
            batches = asyncio.create_task(keep_sending(load.publisher, stopping))
            for _ in range(KILLS):
                await load.moves(moments.randrange(20, 150))
                ingest.kill()
                ingest.start()
                await ingest.ready()
            stopping.set()
            sent = await batches

    statuses = [answer.status for answer in load.publisher.answers]
    assert statuses.count(None) >= KILLS, "it was killed while somebody waited"
    assert sent >= KILLS


async def keep_sending(publisher: Publisher, stopping: asyncio.Event) -> int:
    """Batches one after the other, each until all of it is accepted."""
    sent = 0
    while not stopping.is_set():
        await publisher.publish_batch(traced_batch(BATCH_EVENTS))
        sent += 1
    return sent


async def test_two_ingests_that_get_the_same_at_once_store_it_once(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    """A sender whose request timed out, and whose balancer sends its second try elsewhere."""
    async with four_services(tmp_path, rabbitmq.url, mongodb.url) as platform:
        second = await platform.add_ingest()
        async with (
            platform.publisher() as one,
            Publisher(second.url, PRODUCER_KEY) as other,
            platform.readers() as readers,
        ):
            reader = await readers.open("u1")
            events = traced_batch(300)
            await asyncio.gather(
                *(publisher.publish_event(event) for event in events[:100] for publisher in (one, other)),
                *(publisher.publish_batch(some) for some in batches_of(events[100:]) for publisher in (one, other)),
            )
            entries = await platform.keeps_its_promises(one, readers, other.confirmed)
    assert len(entries) == len(events) + 1
    assert len({delivery.data["id"] for delivery in reader.reading.deliveries}) == len(reader.reading.deliveries)


def batches_of(events: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    return [events[start : start + BATCH_EVENTS] for start in range(0, len(events), BATCH_EVENTS)]


async def test_a_flood_while_the_broker_stands_still_is_refused_within_bounds(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    async with (
        proxy_before(rabbitmq.port) as proxy,
        four_services(tmp_path, f"amqp://guest:guest@127.0.0.1:{proxy.port}/", mongodb.url) as platform,
        platform.publisher() as publisher,
        platform.readers() as readers,
    ):
        await readers.open("u1")
        await publisher.publish("user:u1")
        [ingest] = platform.ingests
        before_mib = resident_mib(ingest)
        proxy.freeze()
        try:
            answers = await asyncio.wait_for(flooded(platform), REFUSED_WITHIN_S)
            grown_mib = resident_mib(ingest) - before_mib
        finally:
            proxy.go_on()
        await publisher.publish("user:u1")
        await platform.keeps_its_promises(publisher, readers)
    assert {answer.status for answer in answers} == {503}
    assert all(answer.retry_after for answer in answers)
    assert grown_mib < FLOOD_MAX_MIB


async def flooded(platform: FourServices) -> list[Answer]:
    """What many senders are answered who do not wait for each other."""
    text = "x" * FLOOD_BYTES

    async def line(publisher: Publisher) -> list[Answer]:
        batches = [[new_event("user:u1", data=text) for _ in range(FLOOD_EVENTS)] for _ in range(FLOOD_TIMES)]
        return [await publisher.send_batch(batch) for batch in batches]

    async with platform.publisher() as publisher:
        lines = await asyncio.gather(*(line(publisher) for _ in range(FLOOD_LINES)))
    return [answer for answers in lines for answer in answers]
