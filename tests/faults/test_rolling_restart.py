"""Two edges restarted in turn under 500 streams and load: a deployment that nobody notices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.harness.crowd import Client, Crowd, crowd_of, keeps_its_promises
from tests.harness.platform import PATIENT, SETTLED_WITHIN_S, four_services
from tests.harness.process import Service
from tests.harness.publisher import Audiences

pytestmark = pytest.mark.servers

CLIENTS = 500
RATE_PER_S = 100.0
DRAIN_S, RETRY_MS = 3.0, 300
# What is usually given before a kill: `edge.drain` and `service.STOP_GRACE_S` need a third of it.
GRACE_S = 30.0
# Of the window, cut into so many parts: with 200 and more clients each is empty once in 10^9 runs.
PARTS = 8


@pytest.mark.parametrize("routing", ["user-queues", "edge-queue"])
async def test_edges_restarted_in_turn_lose_and_repeat_nothing(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer, routing: str
) -> None:
    audiences = Audiences(CLIENTS)
    async with (
        four_services(
            tmp_path, rabbitmq.url, mongodb.url, edges=2, routing=routing, drain_s=DRAIN_S, retry_ms=RETRY_MS, **PATIENT
        ) as platform,
        platform.publisher() as publisher,
        crowd_of(platform) as crowd,
    ):
        await crowd.open(audiences.users)
        async with publisher.load(RATE_PER_S, audiences):
            for number, edge in enumerate(platform.edges):
                await restarted(edge, [client for client in crowd.all if client.edge == number], crowd)
        await keeps_its_promises(platform, publisher, crowd)

    for client in crowd.all:
        assert {closing.reason for closing in client.closings} == {"drain"}
        assert all(closing.reconnect for closing in client.closings)
        assert not client.refusals, client.refusals


async def restarted(edge: Service, mine: Sequence[Client], crowd: Crowd) -> None:
    """One edge leaves, its clients find the other, and it comes back, all under load."""
    told_before = {client: len(client.closings) for client in mine}
    edge.terminate()
    assert await edge.ended(within_s=GRACE_S) == 0, edge.tail()
    at_the_other = "back at the other edge"
    await crowd.until(lambda: all(client.is_connected for client in crowd.all), SETTLED_WITHIN_S, at_the_other)
    check_spread([delay for client in mine for delay in delays_ms(client, told_before[client])], len(mine))
    edge.start()
    await edge.ready()


def delays_ms(client: Client, after: int) -> list[int]:
    return [closing.retry_ms for closing in client.closings[after:] if closing.retry_ms is not None]


def check_spread(delays: list[int], clients: int) -> None:
    """Evenly over the window, so that the other edge takes them one by one; not all at one moment."""
    assert len(delays) == clients >= CLIENTS / 4
    window_ms = DRAIN_S * 1000
    assert min(delays) >= RETRY_MS / 2
    assert max(delays) <= RETRY_MS + window_ms
    parts = [0] * PARTS
    for delay in delays:
        parts[min(PARTS - 1, int(delay / (RETRY_MS + window_ms) * PARTS))] += 1
    assert min(parts) > 0, parts
    # Twice its even share, and room for chance.
    assert max(parts) < 2 * clients / PARTS + 20, parts
