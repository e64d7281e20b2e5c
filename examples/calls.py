"""Calling Carillon's JSON-RPC methods, by HTTP or by AMQP, so that each call counts once.

The caller gives each call an idempotency key before the first try. Whatever becomes of a try, the next one has
the same key, and Carillon makes one event of all of them.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aio_pika
import httpx

from examples.events import GIVE_UP_AFTER_S, TRY_S, NotPublished, http_client, tries

# Codes of what passes by itself: unavailable, rate limited.
TRY_AGAIN = (-32001, -32004)
REPLIES = "amq.rabbitmq.reply-to"


class Caller(Protocol):
    """What both ways have in common."""

    async def call(self, method: str, key: str, params: Mapping[str, Any]) -> Any:
        """The result. Raises `NotPublished` for an error that does not pass, and where nobody answers."""
        ...


class _Caller(ABC):
    async def call(self, method: str, key: str, params: Mapping[str, Any]) -> Any:
        request = {"jsonrpc": "2.0", "id": key, "method": method, "params": {**params, "idempotency_key": key}}
        async for _ in tries():
            answer = await self._answer(key, json.dumps(request).encode())
            if answer is None or answer.get("error", {}).get("code") in TRY_AGAIN:
                continue
            if "error" in answer:
                raise NotPublished(f"{method} was refused: {answer['error']}")
            return answer["result"]
        raise NotPublished(f"{method} was not answered within {GIVE_UP_AFTER_S:g} s")

    @abstractmethod
    async def _answer(self, key: str, body: bytes) -> Any:
        """The answer to one try; None where there was none."""


class HttpCaller(_Caller):
    """`POST /v1/rpc`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def _answer(self, key: str, body: bytes) -> Any:
        try:
            answer = await self._client.post("/v1/rpc", content=body, headers={"Content-Type": "application/json"})
        except httpx.TransportError:
            return None
        if answer.headers.get("content-type") != "application/json":
            # Refused before it was read: no key, or not now.
            if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                raise NotPublished(f"refused: {answer.text}")
            return None
        return answer.json()


class AmqpCaller(_Caller):
    """The queue `carillon.rpc`, with replies on the channel that the requests go by."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, queue: str) -> None:
        self._channel, self._queue = channel, queue
        self._replies: dict[str | None, asyncio.Future[Any]] = {}

    async def listen(self) -> None:
        """Before the first call."""
        replies = await self._channel.get_queue(REPLIES, ensure=False)
        await replies.consume(self._take, no_ack=True)

    async def _take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        reply = self._replies.get(message.correlation_id)
        if reply is not None and not reply.done():
            reply.set_result(json.loads(message.body))

    async def _answer(self, key: str, body: bytes) -> Any:
        self._replies[key] = reply = asyncio.get_running_loop().create_future()
        message = aio_pika.Message(
            body,
            content_type="application/json",
            message_id=key,
            correlation_id=key,
            reply_to=REPLIES,
            expiration=TRY_S,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        try:
            async with asyncio.timeout(TRY_S):
                await self._channel.default_exchange.publish(message, routing_key=self._queue)
                return await reply
        except (TimeoutError, ConnectionError, RuntimeError, aio_pika.exceptions.AMQPError):
            return None
        finally:
            del self._replies[key]


@asynccontextmanager
async def http_caller(url: str, key: str) -> AsyncIterator[HttpCaller]:
    """For a producer's key."""
    async with http_client(url, key) as client:
        yield HttpCaller(client)


@asynccontextmanager
async def amqp_caller(url: str, namespace: str = "carillon") -> AsyncIterator[AmqpCaller]:
    """For whoever may write to the queue."""
    async with await aio_pika.connect_robust(url) as connection:
        caller = AmqpCaller(await connection.channel(publisher_confirms=True), f"{namespace}.rpc")
        await caller.listen()
        yield caller
