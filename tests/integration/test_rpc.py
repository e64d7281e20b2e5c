"""JSON-RPC and plain publish on whole platforms: by HTTP and by way of the broker, to the streams of those meant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
import httpx
import pytest

from infra.local.servers import RabbitServer
from shared.ports.broker import RPC_AT_ONCE
from tests.eventually import WITHIN_S, eventually
from tests.harness.platform import FourServices, Platform

pytestmark = pytest.mark.servers


def a_call(method: str, params: Any, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, **members}


def note(title: str, **params: Any) -> dict[str, Any]:
    return {"user": "alice", "title": title, **params}


@asynccontextmanager
async def client_of(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {platform.producer_key}"}
    async with httpx.AsyncClient(
        base_url=platform.ingest_url, headers=headers, timeout=WITHIN_S, trust_env=False
    ) as client:
        yield client


async def test_what_is_called_and_what_is_written_reaches_those_meant(any_platform: Platform) -> None:
    async with (
        any_platform.publisher() as publisher,
        any_platform.readers() as readers,
        client_of(any_platform) as client,
    ):
        alice, bob = await readers.open("alice", "builds/main"), await readers.open("bob")
        parent = f"00-{uuid4().hex}-b7ad6b7169203331-01"
        receipts = []
        for body in (
            a_call("notify.user", note("to alice"), id=1),
            a_call("notify.users", {"users": ["bob", "alice"], "title": "to both"}, id=2),
            a_call("notify.everyone", {"title": "to all"}, id=3),
            a_call("job.complete", {"job": "7", "audience": "user:bob", "result": 1}, id=4),
        ):
            response = await client.post("/v1/rpc", json=body, headers={"traceparent": parent})
            assert response.status_code == 200
            receipts.append(response.json()["result"])
        line = await client.put("/v1/publish/builds/main?level=success", content="Deploy finished")
        receipts.append(line.json()["accepted"][0] | {"traceparent": line.json()["traceparent"]})
        entries = await any_platform.keeps_its_promises(publisher, readers)

    stored = {(entry.source, entry.id): entry.traceparent for entry in entries}
    assert all(stored[each["source"], each["id"]] == each["traceparent"] for each in receipts)
    assert all(each["traceparent"].split("-")[1] == parent.split("-")[1] for each in receipts[:4])
    titles = [[each.data["data"].get("title") for each in user.reading.deliveries[:-1]] for user in (alice, bob)]
    assert titles == [["to alice", "to both", "to all", "Deploy finished"], ["to both", "to all", None]]


class AmqpCaller:
    """As docs/reference/rpc.md tells a producer to do it."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, queue: str) -> None:
        self._channel, self._queue = channel, queue
        self._replies: dict[str | None, asyncio.Future[Any]] = {}

    async def listen(self) -> None:
        replies = await self._channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
        await replies.consume(self._take, no_ack=True)

    async def _take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self._replies.pop(message.correlation_id).set_result(json.loads(message.body))

    async def call(self, body: Any, **properties: Any) -> Any:
        id_ = uuid4().hex
        self._replies[id_] = reply = asyncio.get_running_loop().create_future()
        await self.send(body, correlation_id=id_, reply_to="amq.rabbitmq.reply-to", expiration=WITHIN_S, **properties)
        return await asyncio.wait_for(reply, WITHIN_S)

    async def send(self, body: Any, **properties: Any) -> None:
        options: dict[str, Any] = {"delivery_mode": aio_pika.DeliveryMode.PERSISTENT, "message_id": uuid4().hex}
        message = aio_pika.Message(json.dumps(body).encode(), **(options | properties))
        await self._channel.default_exchange.publish(message, routing_key=self._queue, timeout=WITHIN_S)


@asynccontextmanager
async def amqp_caller(rabbitmq: RabbitServer, platform: FourServices) -> AsyncIterator[AmqpCaller]:
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        caller = AmqpCaller(channel, f"{platform.settings.namespace}.rpc")
        await caller.listen()
        yield caller


async def test_the_same_by_way_of_the_broker(platform: FourServices, rabbitmq: RabbitServer) -> None:
    """One platform for all of it: answers, batches, notifications, redelivered identity, an outage, a kill."""
    async with platform.readers() as readers, platform.publisher() as publisher, amqp_caller(rabbitmq, platform) as rpc:
        alice = await readers.open("alice")
        parent = f"00-{uuid4().hex}-b7ad6b7169203331-01"
        said = await rpc.call(a_call("notify.user", note("called"), id=7), headers={"traceparent": parent})
        assert (said["id"], said["result"]["source"], said["result"]["duplicate"]) == (7, "/producers/amqp", False)
        assert said["result"]["traceparent"].split("-")[1] == parent.split("-")[1]
        named = await rpc.call(a_call("notify.user", note("named"), id=8), user_id="guest")
        assert named["result"]["source"] == "/producers/amqp:guest"

        refused = await rpc.call([a_call("notify.user", note(""), id="a"), 1, a_call("rpc.discover", {}, id="b")])
        assert [each.get("error", {}).get("code") for each in refused] == [-32602, -32600, None]

        await rpc.send(a_call("notify.user", note("notified")))
        await eventually(lambda: "notified" in titles(alice))
        batch = [a_call("notify.user", note("first"), id=1), a_call("notify.user", note("second"), id=2)]
        tries = [await rpc.call(batch, message_id="the same"), await rpc.call(batch, message_id="the same")]
        assert [each["result"]["id"] for each in tries[0]] == [each["result"]["id"] for each in tries[1]]

        many = await asyncio.gather(
            *(rpc.call(a_call("notify.user", note(f"many {number}"), id=number)) for number in range(4 * RPC_AT_ONCE))
        )
        assert [each["id"] for each in many] == list(range(4 * RPC_AT_ONCE))

        # Requests that were confirmed while nobody served, and those in the hands of a server that is killed.
        platform.ingests[0].kill()
        for number in range(2 * RPC_AT_ONCE):
            await rpc.send(a_call("notify.user", note(f"kept {number}")))
        platform.ingests[0].start()
        await platform.ingests[0].ready()
        await eventually(lambda: any(title.startswith("kept") for title in titles(alice)))
        platform.ingests[0].kill()
        platform.ingests[0].start()
        await platform.ingests[0].ready()
        kept = [f"kept {number}" for number in range(2 * RPC_AT_ONCE)]
        await eventually(lambda: set(kept) <= set(titles(alice)))
        await platform.keeps_its_promises(publisher, readers)
    found = titles(alice)
    assert sorted(title for title in found if title.startswith("kept")) == sorted(kept), "each once"
    assert found.count("first") == found.count("second") == 1


def titles(reader: Any) -> list[str]:
    return [each.data.get("data", {}).get("title") or "" for each in reader.reading.deliveries]
