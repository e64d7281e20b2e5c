"""Namespaces of a test's own on a real RabbitMQ, and what any other client of it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel

from shared.model.settings import Settings
from shared.rabbit.topology import Topology

# So long that only what is really away is told to be.
PATIENT_S = 30.0


@asynccontextmanager
async def namespace_on(url: str) -> AsyncIterator[str]:
    """A fresh namespace, removed at the end."""
    topology = Topology(f"t-{uuid4().hex[:12]}")
    try:
        yield topology.namespace
    finally:
        async with raw_channel(url) as channel:
            for queue in (topology.log, topology.dead, topology.rpc):
                await channel.queue_delete(queue)
            for exchange in (topology.events, topology.deliveries, topology.rpc):
                await channel.exchange_delete(exchange)


@asynccontextmanager
async def raw_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """What any other client of the broker has."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        yield channel


def settings_for(url: str, namespace: str, timeout_s: float = PATIENT_S) -> Settings:
    return Settings.load(amqp_url=url, namespace=namespace, backend_timeout_s=timeout_s)
