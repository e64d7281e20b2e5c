"""RabbitMQ and MongoDB killed under load: 503 in bounded time, streams stay open, everything goes on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.faults.load import MOVES_WITHIN_S, Load, Outage, on_disk, under_load
from tests.harness.platform import four_services
from tests.harness.publisher import Answer

pytestmark = pytest.mark.servers

# Promise 5. The backends' own bound is 2 s; the rest is for busy cores.
REFUSED_WITHIN_S = 20.0
REFUSALS = 40


@pytest.mark.parametrize("routing", ["user-queues", "edge-queue"])
async def test_rabbitmq_is_killed_and_returns(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer, broker_outage: Outage, routing: str
) -> None:
    async with (
        four_services(tmp_path, rabbitmq.url, mongodb.url, edges=2, routing=routing) as platform,
        under_load(platform) as load,
    ):
        await on_disk(rabbitmq, f"{platform.settings.namespace}.log")
        await survives(broker_outage, load)


async def test_mongod_is_killed_and_returns(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer, log_outage: Outage
) -> None:
    async with four_services(tmp_path, rabbitmq.url, mongodb.url, edges=2) as platform, under_load(platform) as load:
        await survives(log_outage, load)


async def test_a_mongod_that_stands_still_is_as_good_as_dead(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    """Its sockets stay open and nothing answers: only time tells."""
    async with four_services(tmp_path, rabbitmq.url, mongodb.url) as platform, under_load(platform) as load:
        connections, before = load.connections, len(load.publisher.answers)
        mongodb.pause()
        try:
            await refusals(load, before)
        finally:
            mongodb.go_on()
        await load.arrives(500)
        check(load, before, connections)


async def survives(outage: Outage, load: Load) -> None:
    """The outage lasts until publishers have been refused many times; then the load must move by itself."""
    connections, before = load.connections, len(load.publisher.answers)
    await outage.begin()
    await refusals(load, before)
    await outage.end()
    await load.arrives(500)
    check(load, before, connections)


async def refusals(load: Load, before: int) -> None:
    await load.readers.until(
        lambda: len(refused(load, before)) >= REFUSALS, MOVES_WITHIN_S, f"refused {REFUSALS} publishes"
    )


def refused(load: Load, before: int) -> list[Answer]:
    return [answer for answer in load.publisher.answers[before:] if answer.status == 503]


def check(load: Load, before: int, connections: int) -> None:
    answers = load.publisher.answers[before:]
    assert {answer.status for answer in answers} == {202, 503}
    assert all(answer.retry_after for answer in refused(load, before))
    slowest = max(answers, key=lambda answer: answer.took_s)
    assert slowest.took_s < REFUSED_WITHIN_S, slowest
    assert load.connections == connections, "a stream was dropped, and had to come back"
