"""An edge that is asked to end, and one that is killed, under open streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.faults.load import under_load
from tests.harness.platform import four_services
from tests.harness.reader import CONNECT_WITHIN_S

pytestmark = pytest.mark.servers

STREAMS = 200
# What is usually given before a kill: the edge itself needs a fifth of it, on a quiet machine.
GRACE_S = 30.0


async def test_sigterm_ends_200_streams_in_order_and_they_resume_elsewhere(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    async with four_services(tmp_path, rabbitmq.url, mongodb.url, edges=2) as platform:
        leaving = platform.edges[0]
        async with under_load(platform) as load:
            users = [f"u{number}" for number in range(STREAMS)]
            drained = await load.readers.open_all(users, edge=0)
            await load.arrives(STREAMS)
            leaving.terminate()
            assert await leaving.ended(GRACE_S) == 0, leaving.tail()
            back = "come back"
            await load.readers.until(lambda: all(reader.connections > 1 for reader in drained), CONNECT_WITHIN_S, back)

    assert [[closing.reason for closing in reader.closings] for reader in drained] == [["drain"]] * STREAMS
    assert all(closing.reconnect for reader in drained for closing in reader.closings)
    delays = {closing.retry_ms for reader in drained for closing in reader.closings}
    assert None not in delays
    assert len(delays) > STREAMS / 4, f"a stampede: only {len(delays)} different delays"


async def test_a_killed_edge_is_replaced_by_the_other(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    async with four_services(tmp_path, rabbitmq.url, mongodb.url, edges=2) as platform, under_load(platform) as load:
        for edge in platform.edges:
            edge.kill()
            await load.arrives(300)
            edge.start()
            await edge.ready()
