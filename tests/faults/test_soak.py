"""Churn on one edge, for as long as a test may take. Ten minutes: `python -m tests.faults.soak --minutes 10`."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.faults.soak import soak, soaked

pytestmark = pytest.mark.servers

SECONDS = 15.0


async def test_after_churn_everything_is_as_before(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    async with soaked(tmp_path, rabbitmq, mongodb) as platform:
        report = await soak(platform, SECONDS, print)

    assert set(report.deeds) == {"stall", "go on", "drop", "resume", "revoke", "ticket"}
    assert {"slow-reader", "session-revoked"} <= set(report.closings), report.closings
