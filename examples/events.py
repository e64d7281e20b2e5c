"""Publishing CloudEvents, by HTTP or by AMQP, so that none is lost and none is there twice.

Both ways keep to the same three rules:

- The event gets its `id` before the first try, and every try sends the same event. Carillon stores it once.
- It counts as published once that is confirmed: 202 by HTTP, a confirm by AMQP. Until then it is sent again.
- What is refused for good (4xx) is an error of this program, and is raised.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aio_pika
import httpx

CONTENT_TYPE = "application/cloudevents+json"
# How long a Carillon that is away is waited for, and how long one try may take.
GIVE_UP_AFTER_S = 60.0
TRY_S = 5.0
# Between two tries, doubled each time, and jittered so that programs do not come back all at once.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0

Event = Mapping[str, Any]


class NotPublished(Exception):
    """An event was refused, or nobody took it in a minute."""


class Publisher(Protocol):
    """What both ways have in common."""

    async def publish(self, event: Event) -> None:
        """Returns once the event is stored for good. Raises `NotPublished`."""
        ...


class HttpPublisher:
    """`POST /v1/events`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def publish(self, event: Event) -> None:
        async for _ in tries():
            try:
                answer = await self._client.post("/v1/events", json=dict(event), headers={"Content-Type": CONTENT_TYPE})
            except httpx.TransportError:
                continue  # it may have been stored: the same event again finds out
            if answer.status_code == httpx.codes.ACCEPTED:
                return
            if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                raise NotPublished(f"{event['id']} was refused: {answer.text}")
        raise NotPublished(f"{event['id']} was not accepted within {GIVE_UP_AFTER_S:g} s")


class AmqpPublisher:
    """The topic exchange `carillon.events`; the routing key is the event's type."""

    def __init__(self, exchange: aio_pika.abc.AbstractExchange) -> None:
        self._exchange = exchange

    async def publish(self, event: Event) -> None:
        message = aio_pika.Message(
            json.dumps(event).encode(),
            content_type=CONTENT_TYPE,
            message_id=event["id"],
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        async for _ in tries():
            try:
                await self._exchange.publish(message, routing_key=event["type"], timeout=TRY_S)
            except (TimeoutError, ConnectionError, RuntimeError, aio_pika.exceptions.AMQPError):
                continue  # aio_pika's robust connection comes back by itself
            return
        raise NotPublished(f"{event['id']} was not confirmed within {GIVE_UP_AFTER_S:g} s")


@asynccontextmanager
async def http_publisher(url: str, key: str) -> AsyncIterator[HttpPublisher]:
    """For a producer's key."""
    async with http_client(url, key) as client:
        yield HttpPublisher(client)


def http_client(url: str, key: str) -> httpx.AsyncClient:
    """A client of ingest."""
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TRY_S)


@asynccontextmanager
async def amqp_publisher(url: str, namespace: str = "carillon") -> AsyncIterator[AmqpPublisher]:
    """For whoever may write to the exchange."""
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        yield AmqpPublisher(await channel.get_exchange(f"{namespace}.events", ensure=False))


async def tries() -> AsyncIterator[int]:
    """Numbers of tries, with pauses in between, until it is time to give up."""
    loop = asyncio.get_running_loop()
    give_up_at, pause_s, number = loop.time() + GIVE_UP_AFTER_S, FIRST_PAUSE_S, 1
    while loop.time() < give_up_at:
        yield number
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s, number = min(2 * pause_s, LONGEST_PAUSE_S), number + 1
