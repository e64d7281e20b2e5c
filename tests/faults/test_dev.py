"""`carillon dev` killed at any moment: what was answered 202 is there after the restart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.load import under_load
from tests.harness.platform import DevPlatform

pytestmark = pytest.mark.servers

KILLS = 6
# What is usually given before a kill.
GRACE_S = 30.0


async def test_kills_at_any_moment_lose_and_repeat_nothing(tmp_path: Path) -> None:
    moments = random.Random(3)
    async with DevPlatform(tmp_path) as platform:
        await platform.start()
        async with under_load(platform) as load:
            for _ in range(KILLS):
                await load.moves(moments.randrange(1, 200))
                platform.dev.kill()
                platform.dev.start()


async def test_streams_open_at_sigterm_do_not_hold_it_up(tmp_path: Path) -> None:
    async with DevPlatform(tmp_path) as platform:
        await platform.start()
        async with platform.readers() as readers:
            opened = await readers.open_all([f"u{number}" for number in range(20)])
            platform.dev.terminate()
            assert await platform.dev.ended(within_s=GRACE_S) == 0, platform.dev.tail()

    assert all(reader.closings[0].reason == "drain" for reader in opened)
