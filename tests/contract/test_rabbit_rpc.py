"""Request and reply on a real RabbitMQ: what any AMQP client may send, and what only this adapter can get wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from infra.local.servers import RabbitServer
from shared.model.errors import BrokerUnavailable
from shared.ports.broker import RPC_AT_ONCE, RpcRequest
from shared.rabbit import rpc
from shared.rabbit.broker import RabbitBroker, open_broker
from tests.contract.entries import event
from tests.contract.namespaces import namespace_on, raw_channel, settings_for
from tests.eventually import WITHIN_S, answered, eventually
from tests.proxy import proxy_before

pytestmark = pytest.mark.servers

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def namespace(rabbitmq: RabbitServer) -> AsyncIterator[str]:
    async with namespace_on(rabbitmq.url) as namespace:
        yield namespace


@pytest.fixture
async def broker(rabbitmq: RabbitServer, namespace: str) -> AsyncIterator[RabbitBroker]:
    async with open_broker(settings_for(rabbitmq.url, namespace)) as broker:
        # Only who serves or calls needs them declared, and these tests ask as strangers.
        await broker.ping()
        yield broker


async def echo(request: RpcRequest) -> bytes:
    return request.body


class Stranger:
    """An AMQP client that knows Carillon by its documentation alone."""

    def __init__(self, channel: AbstractChannel, namespace: str) -> None:
        self._channel, self._queue = channel, f"{namespace}.rpc"
        self._replies: dict[str | None, AbstractIncomingMessage] = {}
        self.reply_to = ""

    async def listen(self, queue: str) -> None:
        self.reply_to = queue
        found = await self._channel.get_queue(queue, ensure=False)
        await found.consume(self._take, no_ack=True)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        self._replies[message.correlation_id] = message

    async def send(self, body: bytes, *, exchange: str = "", **properties: Any) -> str:
        id_ = uuid4().hex
        message = aio_pika.Message(body, **{"correlation_id": id_, "reply_to": self.reply_to, **properties})
        where = await self._channel.get_exchange(exchange, ensure=False) if exchange else None
        await (where or self._channel.default_exchange).publish(message, routing_key=self._queue, timeout=WITHIN_S)
        return id_

    async def ask(self, body: bytes, **options: Any) -> AbstractIncomingMessage:
        id_ = await self.send(body, **options)
        await eventually(lambda: id_ in self._replies)
        return self._replies[id_]


@pytest.fixture
async def stranger(rabbitmq: RabbitServer, namespace: str, broker: RabbitBroker) -> AsyncIterator[Stranger]:
    async with raw_channel(rabbitmq.url) as channel:
        stranger = Stranger(channel, namespace)
        await stranger.listen((await channel.declare_queue(exclusive=True)).name)
        yield stranger


async def test_any_client_asks_and_is_answered(broker: RabbitBroker, stranger: Stranger, namespace: str) -> None:
    async with broker.serve_rpc(echo):
        by_queue = await stranger.ask(b"\x00\xff")
        assert (by_queue.body, by_queue.content_type) == (b"\x00\xff", "application/json")
        assert (await stranger.ask(b"by exchange", exchange=f"{namespace}.rpc")).body == b"by exchange"
        await stranger.listen("amq.rabbitmq.reply-to")
        assert (await stranger.ask(b"directly")).body == b"directly"


async def test_what_the_message_says_of_itself_comes_along(broker: RabbitBroker, stranger: Stranger) -> None:
    asked: list[RpcRequest] = []

    async def answer(request: RpcRequest) -> bytes:
        asked.append(request)
        return b""

    async with broker.serve_rpc(answer):
        headers: dict[str, Any] = {"traceparent": PARENT, "tracestate": "a=b"}
        await stranger.ask(b"", message_id="mine", user_id="guest", headers=headers)
        await stranger.ask(b"", message_id="mine", headers={"traceparent": 7, "tracestate": None})
    assert asked == [RpcRequest(b"", "mine", "guest", PARENT, "a=b"), RpcRequest(b"", "mine")]


async def test_nobody_says_that_they_are_another(broker: RabbitBroker, stranger: Stranger) -> None:
    with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed, match="user_id"):
        await stranger.send(b"", user_id="alice")


async def test_a_request_that_asks_for_no_reply_is_carried_out(broker: RabbitBroker, stranger: Stranger) -> None:
    asked: list[bytes] = []

    async def answer(request: RpcRequest) -> bytes:
        asked.append(request.body)
        return b"unheard"

    async with broker.serve_rpc(answer):
        await stranger.send(b"quietly", reply_to=None)
        await eventually(lambda: asked)
        assert (await stranger.ask(b"and on")).body == b"unheard"


async def gone_for_good(rabbitmq: RabbitServer, namespace: str) -> str:
    """Where a client that listened for replies directly can be reached no more."""
    async with open_broker(settings_for(rabbitmq.url, namespace)), raw_channel(rabbitmq.url) as channel:
        leaving = Stranger(channel, namespace)
        await leaving.listen("amq.rabbitmq.reply-to")
        await leaving.send(b"")
        queue = await channel.get_queue(f"{namespace}.rpc", ensure=False)
        message = await answered(lambda: queue.get(timeout=WITHIN_S, no_ack=True), aio_pika.exceptions.QueueEmpty)
        assert message is not None
        assert message.reply_to is not None
        return message.reply_to


@pytest.mark.parametrize("kind", ["queue", "direct"])
async def test_replies_that_nobody_takes_hold_nobody_up(
    rabbitmq: RabbitServer,
    namespace: str,
    broker: RabbitBroker,
    stranger: Stranger,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "shared.rabbit")
    reply_to = "gone" if kind == "queue" else await gone_for_good(rabbitmq, namespace)
    async with broker.serve_rpc(echo):
        for _ in range(2 * RPC_AT_ONCE):
            await stranger.send(b"", reply_to=reply_to)
        assert (await stranger.ask(b"alive")).body == b"alive"
        await eventually(lambda: sum("found nobody" in line for line in caplog.messages) == 2 * RPC_AT_ONCE)


async def test_a_forged_address_costs_only_its_own_reply(
    broker: RabbitBroker, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    """RabbitMQ 3.10 ends the whole connection that a made-up direct reply-to is published on."""
    lost: list[str] = []
    feed = await broker.open_feed(lambda _: None, lost.append)
    async with broker.serve_rpc(echo):
        for _ in range(5):
            await stranger.send(b"", reply_to="amq.rabbitmq.reply-to.g1h2AA.nonsense")
            assert (await stranger.ask(b"alive")).body == b"alive"
            await broker.publish(event("1"))
        await eventually(lambda: sum("was lost" in line for line in caplog.messages) == 5)
    assert lost == []
    await feed.close()


async def test_nobody_reaches_carillons_queues_through_replies(
    broker: RabbitBroker, stranger: Stranger, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.serve_rpc(echo):
        for queue in ("log", "dead", "rpc"):
            await stranger.send(b"forged", reply_to=f"{namespace}.{queue}")
        assert (await stranger.ask(b"alive")).body == b"alive"
        await eventually(lambda: sum("of Carillon's own" in line for line in caplog.messages) == 3)
    assert list(await broker.dead_letters(10)) == []
    assert (await broker.waiting()).intake == 0


async def test_a_request_whose_server_died_comes_to_another(
    rabbitmq: RabbitServer, namespace: str, broker: RabbitBroker, stranger: Stranger
) -> None:
    asked: list[str | None] = []

    async def never(request: RpcRequest) -> bytes:
        asked.append(request.id)
        await asyncio.Event().wait()
        return b""

    async def at_last(request: RpcRequest) -> bytes:
        asked.append(request.id)
        return b"at last"

    async with proxy_before(rabbitmq.port) as proxy:
        # Who leaves gives what is under way so long.
        behind = settings_for(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", namespace, timeout_s=5.0)
        async with open_broker(behind) as dying, dying.serve_rpc(never):
            await stranger.send(b"", message_id="the same", correlation_id="one")
            await eventually(lambda: asked == ["the same"])
            proxy.accepts = False
            proxy.cut()
            async with broker.serve_rpc(at_last):
                await eventually(lambda: "one" in stranger._replies)
    assert asked == ["the same", "the same"], "so that it can be known again"


async def test_what_ends_every_server_is_set_aside(
    broker: RabbitBroker,
    stranger: Stranger,
    rabbitmq: RabbitServer,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc, "MAX_ATTEMPTS", 3)
    await stranger.send(b"poison")
    async with raw_channel(rabbitmq.url) as channel:
        queue = await channel.get_queue(f"{namespace}.rpc", ensure=False)
        for _ in range(4):
            message = await answered(lambda: queue.get(timeout=WITHIN_S), aio_pika.exceptions.QueueEmpty)
            assert message is not None
            await message.nack(requeue=True)
    async with broker.serve_rpc(echo):
        assert (await stranger.ask(b"fine")).body == b"fine"
        await eventually_dead(broker, b"poison", "rpc-unfinished")


async def eventually_dead(broker: RabbitBroker, body: bytes, reason: str) -> None:
    async def found() -> None:
        assert [(letter.body, letter.reason) for letter in await broker.dead_letters(5)] == [(body, reason)]

    await answered(found, AssertionError)


async def test_serving_goes_on_after_a_break(rabbitmq: RabbitServer, namespace: str, broker: RabbitBroker) -> None:
    async with proxy_before(rabbitmq.port) as proxy:
        behind = settings_for(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", namespace)
        async with open_broker(behind) as breaking, breaking.serve_rpc(echo):
            assert await broker.call(b"before", WITHIN_S) == b"before"
            for _ in range(2):
                proxy.cut()
                assert await broker.call(b"after", WITHIN_S) == b"after"


async def test_serving_goes_on_when_its_queue_was_deleted(
    rabbitmq: RabbitServer, namespace: str, broker: RabbitBroker
) -> None:
    async with broker.serve_rpc(echo), raw_channel(rabbitmq.url) as channel:
        assert await broker.call(b"before", WITHIN_S) == b"before"
        await channel.queue_delete(f"{namespace}.rpc")
        assert await answered(lambda: broker.call(b"after", 5), BrokerUnavailable) == b"after"


async def test_a_call_whose_connection_breaks_says_so_at_once(rabbitmq: RabbitServer, namespace: str) -> None:
    async with proxy_before(rabbitmq.port) as proxy:
        behind = settings_for(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", namespace)
        async with open_broker(behind) as breaking, raw_channel(rabbitmq.url) as channel:
            await breaking.ping()

            async def is_sent() -> None:
                queue = await channel.declare_queue(f"{namespace}.rpc", passive=True)
                assert queue.declaration_result.message_count

            calling = asyncio.create_task(breaking.call(b"", 10 * WITHIN_S))
            await answered(is_sent, AssertionError)
            proxy.cut()
            with pytest.raises(BrokerUnavailable):
                await asyncio.wait_for(calling, WITHIN_S)


async def test_serving_needs_no_broker_to_begin(namespace: str) -> None:
    async with (
        open_broker(settings_for("amqp://guest:guest@127.0.0.1:9/", "none")) as nowhere,
        asyncio.timeout(WITHIN_S),
        nowhere.serve_rpc(echo),
    ):
        # It is served by nobody, and says so to who asks.
        with pytest.raises(BrokerUnavailable):
            await nowhere.call(b"", WITHIN_S)
