"""Platforms that the tests of one module share: each test takes users of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.harness.platform import PATIENT, DevPlatform, FourServices, Platform

BOTH_ADAPTERS = ("four-services", "dev")
FOUR_SERVICES = BOTH_ADAPTERS[:1]


@asynccontextmanager
async def shared_platform(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, **settings: object
) -> AsyncIterator[Platform]:
    """The set of adapters that the fixture's parameter names.

    Four services have two edges, one in each routing: what a test sees on both holds for both.

    Args:
        settings: of the edges.
    """
    folder = folders.mktemp("platform")
    if request.param == "dev":
        async with DevPlatform(folder, **settings) as dev:
            yield await dev.start()
        return
    async with bare_services(request, folders) as platform:
        await platform.add_edge(routing="user-queues", **settings)
        await platform.add_edge(routing="edge-queue", **settings)
        yield platform


@asynccontextmanager
async def bare_services(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> AsyncIterator[FourServices]:
    """Ingest and persister; tests add the edges that they need."""
    amqp_url, mongo_url = (request.getfixturevalue(name).url for name in ("rabbitmq", "mongodb"))
    async with FourServices(folders.mktemp("platform"), amqp_url, mongo_url, **PATIENT) as platform:
        yield await platform.start(edges=0)
