"""What fault tests may break."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.faults.load import Outage


@pytest.fixture
def broker_outage(rabbitmq: RabbitServer) -> Iterator[Outage]:
    """A way to kill the session's RabbitMQ; it runs again at the end, whatever the test did."""
    yield from _outage(rabbitmq)


@pytest.fixture
def log_outage(mongodb: MongoServer) -> Iterator[Outage]:
    """A way to kill the session's mongod; it runs again at the end, whatever the test did."""
    yield from _outage(mongodb)


def _outage(server: RabbitServer | MongoServer) -> Iterator[Outage]:
    outage = Outage(server)
    try:
        yield outage
    finally:
        if outage.is_on:
            asyncio.run(outage.end())
