"""One trace from the HTTP request to the frame; one traceparent from ingest on."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.eventually import WITHIN_S
from tests.harness.platform import FourServices, Platform
from tests.harness.publisher import new_event, new_traceparent, trace_id_of

pytestmark = pytest.mark.servers

WELL_FORMED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


async def test_the_requests_trace_is_in_the_answer_the_log_and_the_frame(any_platform: Platform) -> None:
    event = new_event("user:alice")
    async with any_platform.publisher() as publisher, any_platform.readers() as readers:
        reader = await readers.open("alice")
        answer = await publisher.send(event)
        entries = await any_platform.keeps_its_promises(publisher, readers)

    [entry] = [entry for entry in entries if entry.id == event["id"]]
    [frame] = [each.data for each in reader.reading.deliveries if each.data["id"] == event["id"]]
    assert WELL_FORMED.fullmatch(answer.body["traceparent"])
    assert answer.body["traceparent"].split("-")[1] == trace_id_of(event)
    assert entry.traceparent == frame["traceparent"] == answer.body["traceparent"]


async def test_an_event_that_brings_its_context_keeps_it(any_platform: Platform) -> None:
    event = new_event("user:alice", traceparent=new_traceparent(), tracestate="vendor=1,other=2")
    async with any_platform.publisher() as publisher, any_platform.readers() as readers:
        reader = await readers.open("alice")
        answer = await publisher.send(event)
        entries = await any_platform.keeps_its_promises(publisher, readers)

    [entry] = [entry for entry in entries if entry.id == event["id"]]
    [frame] = [each.data for each in reader.reading.deliveries if each.data["id"] == event["id"]]
    assert answer.body["traceparent"] == entry.traceparent == frame["traceparent"] == event["traceparent"]
    assert entry.tracestate == event["tracestate"]
    # What tracing systems tell each other is no business of browsers.
    assert "tracestate" not in frame


async def test_the_trace_is_in_the_amqp_headers_on_the_way_in_and_out(platform: FourServices) -> None:
    event = new_event(f"user:{secrets.token_hex(4)}")
    settings = platform.settings
    connecting = aio_pika.connect(settings.amqp_url.get_secret_value())
    async with platform.publisher() as publisher, await connecting as connection:
        published = await listen(connection, f"{settings.namespace}.events", "#")
        dispatched = await listen(connection, f"{settings.namespace}.deliveries", event["audience"])
        answer = await publisher.send(event)
        async with asyncio.timeout(WITHIN_S):
            messages = [await published.get(), await dispatched.get()]

    traceparent = answer.body["traceparent"]
    assert traceparent.split("-")[1] == trace_id_of(event)
    assert [message.headers["traceparent"] for message in messages] == [traceparent] * 2
    assert [message.message_id for message in messages] == [event["id"]] * 2
    assert [message.content_type for message in messages] == ["application/cloudevents+json"] * 2
    assert traceparent.encode() in messages[0].body


async def listen(connection: Any, exchange: str, routing_key: str) -> asyncio.Queue[AbstractIncomingMessage]:
    """What passes through an exchange from now on."""
    channel = await connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(exchange, routing_key)
    found: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(found.put, no_ack=True)
    return found
