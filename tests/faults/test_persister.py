"""Persisters that are killed, replaced, paused and woken under load."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from infra.local.servers import MongoServer, RabbitServer
from services.edge.tokens import sign_token
from tests.eventually import answered
from tests.faults.load import MOVES_WITHIN_S, Load, under_load
from tests.harness.platform import FourServices, four_services
from tests.harness.process import Service
from tests.harness.reader import Reader

pytestmark = pytest.mark.servers

KILLS = 10
# Persisters start and are killed all the while; on a busy machine none lives long enough before the last one.
MARKED_WITHIN_S = 400.0
# Either the fence refused its write, or time had run out over one that it was paused in the middle of.
FENCED_OFF = "no longer the active persister"


async def test_ten_kills_mid_batch_lose_and_repeat_nothing(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    moments = random.Random(2)
    async with four_services(tmp_path, rabbitmq.url, mongodb.url) as platform:
        [persister] = platform.persisters
        async with under_load(platform) as load, asyncio.TaskGroup() as marking:
            for _ in range(KILLS):
                await load.arrives(moments.randrange(1, 150))
                # A mark is under way, too: the read models must come out of it as if nothing had happened.
                marking.create_task(reads_all(platform, load.readers.all[0]))
                persister.kill()
                # What is confirmed meanwhile waits for it, so that each life begins with a full batch.
                await load.moves(moments.randrange(1, 100))
                persister.start()


async def reads_all(platform: FourServices, reader: Reader) -> None:
    """Marks everything of a user's inbox read, up to where the stream is, as often as it takes."""
    user = reader.name.split("#")[0]
    bearer = f"Bearer {sign_token(platform.jwt_secret, user, [], 600)}"
    async with httpx.AsyncClient(base_url=platform.edge_urls[0], trust_env=False, timeout=MARKED_WITHIN_S) as client:

        async def mark() -> None:
            through = {"through": reader.last_event_id}
            answer = await client.post("/v1/inbox/read", json=through, headers={"Authorization": bearer})
            assert answer.status_code == 200, answer.text

        await answered(mark, AssertionError, httpx.TransportError, within_s=MARKED_WITHIN_S)


async def test_a_standby_takes_over_from_each_that_is_killed(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    async with (
        four_services(tmp_path, rabbitmq.url, mongodb.url, persisters=2) as platform,
        under_load(platform) as load,
    ):
        for number in range(4):
            killed = platform.persisters[number % 2]
            killed.kill()
            await load.arrives(200)
            killed.start()
            await killed.ready()


async def test_a_paused_persister_that_wakes_after_a_takeover_is_fenced_off(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    """Its connection still holds deliveries that it believes to be its own."""
    # The broker gives a silent consumer up after two heartbeats; with the usual five seconds each
    # this test would only wait longer.
    url = f"{rabbitmq.url}?heartbeat=1"
    async with four_services(tmp_path, url, mongodb.url, persisters=2) as platform, under_load(platform) as load:
        await fence_off(platform, load)


async def fence_off(platform: FourServices, load: Load) -> None:
    first, second = by_activity(platform.persisters)
    first.pause()
    await load.readers.until(
        lambda: "active persister" in last_line_about_activity(second), MOVES_WITHIN_S, "taken over"
    )
    # It is the broker that moves the consumer: only then do events arrive again.
    await load.arrives(300)
    first.go_on()
    await load.readers.until(lambda: FENCED_OFF in first.output, MOVES_WITHIN_S, "fenced off")
    await load.arrives(300)


def by_activity(persisters: list[Service]) -> tuple[Service, Service]:
    """(the active one, the standby)."""
    first, second = persisters
    return (first, second) if "active persister" in last_line_about_activity(first) else (second, first)


def last_line_about_activity(persister: Service) -> str:
    lines = [line for line in persister.output.splitlines() if "active persister" in line]
    return lines[-1] if lines and "no longer" not in lines[-1] else ""
