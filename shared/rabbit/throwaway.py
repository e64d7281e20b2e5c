"""A namespace that is removed at the end, to certify a broker with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import aio_pika

from shared.model.settings import Settings
from shared.rabbit.broker import RabbitBroker, open_broker
from shared.rabbit.topology import Topology
from shared.rabbit.translation import translated


@dataclass(frozen=True, slots=True)
class RabbitNamespace:
    """One namespace, whoever connects."""

    settings: Settings

    def client(self) -> AbstractAsyncContextManager[RabbitBroker]:
        """Opens a broker in it."""
        return open_broker(self.settings)


@asynccontextmanager
async def throwaway_namespace(settings: Settings) -> AsyncIterator[RabbitNamespace]:
    """A fresh namespace on the configured broker; its queues and exchanges go at the end."""
    namespace = f"{settings.namespace[:40]}-certify-{uuid4().hex[:10]}"
    try:
        yield RabbitNamespace(settings.model_copy(update={"namespace": namespace}))
    finally:
        await _remove(settings.amqp_url.get_secret_value(), Topology(namespace))


async def _remove(url: str, topology: Topology) -> None:
    with translated():
        async with await aio_pika.connect(url) as connection, connection.channel() as channel:
            for queue in (topology.log, topology.dead, topology.rpc):
                await channel.queue_delete(queue)
            for exchange in (topology.events, topology.deliveries, topology.rpc):
                await channel.exchange_delete(exchange)
