"""Platforms of real processes, ready to publish to and to read from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.harness.platform import PATIENT, DevPlatform, FourServices, Platform, four_services


@pytest.fixture
async def platform(tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer) -> AsyncIterator[FourServices]:
    """The four services with one edge, in the default routing."""
    async with four_services(tmp_path, rabbitmq.url, mongodb.url, **PATIENT) as ready:
        yield ready


@pytest.fixture(params=["user-queues", "edge-queue"])
async def two_edges(
    request: pytest.FixtureRequest, tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> AsyncIterator[FourServices]:
    """The four services with two edges, in either routing."""
    async with four_services(tmp_path, rabbitmq.url, mongodb.url, edges=2, routing=request.param, **PATIENT) as ready:
        yield ready


@pytest.fixture(params=["four-services", "dev"])
async def any_platform(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Platform]:
    """What must be the same on both sets of adapters."""
    if request.param == "dev":
        async with DevPlatform(tmp_path) as dev:
            yield await dev.start()
        return
    servers = [request.getfixturevalue(name).url for name in ("rabbitmq", "mongodb")]
    async with four_services(tmp_path, *servers, **PATIENT) as ready:
        yield ready
