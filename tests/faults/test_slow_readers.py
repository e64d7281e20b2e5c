"""Clients that stop reading, and crowds that come back: they cost a bounded amount, and nobody else anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.local.servers import MongoServer, RabbitServer
from shared.web.server import UNACKNOWLEDGED_MAX_MS
from tests.eventually import answered
from tests.faults.statistics import OPERATOR_KEYS, counts, resident_mib, unsent_kib
from tests.harness.crowd import Client, Crowd, crowd_of, keeps_its_promises
from tests.harness.platform import PATIENT, four_services
from tests.harness.process import Service
from tests.harness.publisher import Publisher

pytestmark = pytest.mark.servers

CLIENTS, STALLED_SHARE = 100, 0.1
TOLD_WITHIN_S = 0.5 * UNACKNOWLEDGED_MAX_MS / 1000
# What a stalled reader may have waiting, and what it is sent: 25 times as much.
BUFFER_BYTES, EVENT_BYTES, EVENTS_EACH = 256 * 1024, 64 * 1024, 100
# The buffer, what the transport takes over its high-water mark, and the kernel's UNSENT_MAX_BYTES.
RESIDENT_MAX_KIB, KERNEL_MAX_KIB = 256 + 2 * 64 + 64, 128 + 64
# What Python keeps of 64 MB that have passed through, whoever read them.
PASSING_MIB = 24.0

RETURNING, MISSED = 500, 20
# Nobody waits for the others' turn for longer than this: 2,000 take 15 s in the benchmark, on a quiet machine.
SERVED_WITHIN_S = 60.0


async def test_stalled_readers_are_cut_at_a_bound_and_catch_up(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    """Nothing of a stalled client waits for it to read: 2.7 MB in the kernel and half a minute, it once was."""
    settings: dict[str, int | str] = {"operator_keys": OPERATOR_KEYS, "buffer_max_bytes": BUFFER_BYTES}
    async with (
        four_services(tmp_path, rabbitmq.url, mongodb.url, **settings) as platform,  # type: ignore[arg-type]
        platform.publisher() as publisher,
        crowd_of(platform) as crowd,
    ):
        [edge] = platform.edges
        await crowd.open([f"u{number}" for number in range(CLIENTS)])
        stalled = crowd.some(STALLED_SHARE)
        before_mib = resident_mib(edge)
        clock = asyncio.get_running_loop().time
        began = clock()
        for client in stalled:
            client.stall()
        await publish_to(stalled, publisher)
        await are_cut(stalled, edge)
        assert max(unsent_kib(edge)) < KERNEL_MAX_KIB
        assert resident_mib(edge) - before_mib < len(stalled) * RESIDENT_MAX_KIB / 1024 + PASSING_MIB
        stalled_s = clock() - began
        for client in stalled:
            client.go_on()
        await keeps_its_promises(platform, publisher, crowd)

    told = [closing.reason for client in stalled for closing in client.closings]
    assert set(told) <= {"slow-reader"}
    # Of one that acknowledges nothing for so long the kernel drops the connection, and what was still to be told.
    assert len(told) == len(stalled) or stalled_s > TOLD_WITHIN_S
    untouched = set(crowd.all) - set(stalled)
    assert all(client.connections == 1 for client in untouched)


async def publish_to(stalled: Sequence[Client], publisher: Publisher) -> None:
    """Events of their own to each: what is kept for one is not kept for the others."""
    text = "x" * EVENT_BYTES
    for _ in range(EVENTS_EACH):
        await asyncio.gather(*(publisher.publish(f"user:{client.user}", data=text) for client in stalled))


async def are_cut(stalled: Sequence[Client], edge: Service) -> None:
    """The edge serves the others only, and its log names each that it has cut."""

    async def look() -> None:
        here = await counts(edge)
        others = CLIENTS - len(stalled)
        assert (here["connections"], here["users"], here["feeds"]) == (others,) * 3, here

    await answered(look, AssertionError)
    assert edge.output.count("slow-reader") == len(stalled)


@pytest.mark.parametrize("routing", ["user-queues", "edge-queue"])
async def test_a_crowd_that_returns_at_once_is_served(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer, routing: str
) -> None:
    async with (
        four_services(tmp_path, rabbitmq.url, mongodb.url, routing=routing, **PATIENT) as platform,
        platform.publisher() as publisher,
        crowd_of(platform) as crowd,
    ):
        await crowd.open([f"u{number}" for number in range(RETURNING)])
        for client in crowd.all:
            client.drop()
        for _ in range(MISSED):
            last = await publisher.publish("everyone")
        await return_at_once(crowd)
        await crowd.received(last.attributes["id"], SERVED_WITHIN_S)
        await keeps_its_promises(platform, publisher, crowd)

    assert [client.refusals for client in crowd.all] == [[]] * RETURNING
    assert [client.connections for client in crowd.all] == [2] * RETURNING


async def return_at_once(crowd: Crowd) -> None:
    await crowd.until(lambda: all(client.transport is None for client in crowd.all), SERVED_WITHIN_S, "gone")
    for client in crowd.all:
        crowd.start(client)
