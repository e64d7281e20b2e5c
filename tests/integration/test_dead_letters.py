"""Garbage straight onto AMQP: parked with its reason, and its neighbours are delivered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import aio_pika
import pytest

from shared.ports.broker import Broker, DeadLetter
from tests.eventually import WITHIN_S, answered
from tests.harness.checker import Confirmed
from tests.harness.platform import FourServices
from tests.harness.publisher import STRUCTURED, new_event

pytestmark = pytest.mark.servers


def event_with(**attributes: Any) -> bytes:
    return json.dumps(new_event("user:alice") | attributes).encode()


def event_without(name: str) -> bytes:
    return json.dumps({key: value for key, value in new_event("user:alice").items() if key != name}).encode()


POISON: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "invalid-event", "body"),
    "binary": (bytes(range(256)), "invalid-event", "body"),
    "not JSON": (b"{'single': quotes}", "invalid-event", "body"),
    "not an object": (b"[1, 2, 3]", "invalid-event", "body"),
    "deep": (b"[" * 100_000, "invalid-event", "body"),
    "no id": (event_without("id"), "invalid-event", "id"),
    "no source": (event_without("source"), "invalid-event", "source"),
    "old": (event_with(specversion="0.3"), "invalid-event", "specversion"),
    "bad tag": (event_with(audience="alice"), "invalid-event", "audience"),
    "line end in type": (event_with(type="a\r\nid: 1.1"), "invalid-event", "type"),
    "NUL in id": (event_with(id="a\0b"), "invalid-event", "id"),
    "infinity": (event_with().replace(b'"1.0"', b'"1.0", "data": 1e999'), "invalid-event", "body"),
    "too large": (event_with(data="x" * 300_000), "too-large", "body"),
    "stale version": (event_with(subject="job/poison", expectedversion=7), "version-conflict", "expectedversion"),
}


async def test_poison_is_parked_with_its_reason_and_its_neighbours_are_delivered(platform: FourServices) -> None:
    direct: list[Confirmed] = []
    async with platform.publisher() as publisher, platform.readers() as readers, platform.backends() as backends:
        await readers.open("alice")
        for body, _, _ in POISON.values():
            neighbour = new_event("user:alice", subject="job/neighbours")
            await backends.broker.publish_raw(json.dumps(neighbour).encode(), STRUCTURED)
            direct.append(Confirmed(neighbour))
            await backends.broker.publish_raw(body, STRUCTURED)
            await publisher.publish("user:alice", subject="job/neighbours")
        entries = await platform.keeps_its_promises(publisher, readers, direct)
        letters = await parked(backends.broker, len(POISON))

    assert len(entries) == 2 * len(POISON) + 1
    # What is no event is kept byte for byte; what is one, JSON for JSON.
    assert [letter.body for letter in letters[:-1]] == [body for body, _, _ in POISON.values()][:-1]
    assert json.loads(letters[-1].body) == json.loads(POISON["stale version"][0])
    assert {name: told(letter) for name, letter in zip(POISON, letters, strict=True)} == {
        name: (reason, field) for name, (_, reason, field) in POISON.items()
    }
    assert all(letter.detail for letter in letters)


async def test_a_foreign_amqp_client_needs_nothing_but_the_exchange(platform: FourServices) -> None:
    """No message id, no content type, odd properties: the body is what counts, and nobody falls over the rest."""
    events = [new_event("user:alice", data=number) for number in range(4)]
    odd: list[dict[str, Any]] = [
        {},
        {"content_type": "text/plain", "headers": {"x": bytearray(b"\xff"), "traceparent": "nonsense", "n": 2**40}},
        {"message_id": "same", "priority": 9, "reply_to": "nowhere", "content_encoding": "gzip"},
        {"message_id": "same", "delivery_mode": 1},
    ]
    settings = platform.settings
    async with platform.publisher() as publisher, platform.readers() as readers:
        await readers.open("alice")
        async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(f"{settings.namespace}.events")
            for event, properties in zip(events, odd, strict=True):
                message = aio_pika.Message(json.dumps(event).encode(), **properties)
                await exchange.publish(message, routing_key="anything.at.all", timeout=WITHIN_S)
        entries = await platform.keeps_its_promises(publisher, readers, map(Confirmed, events))

    assert [entry.id for entry in entries[:-1]] == [event["id"] for event in events]


async def test_a_version_conflict_is_parked_and_the_stream_stays_whole(platform: FourServices) -> None:
    async with platform.publisher() as publisher, platform.readers() as readers, platform.backends() as backends:
        await readers.open("alice")
        for version in (0, 1):
            await publisher.publish("user:alice", subject="job/1", expectedversion=str(version))
        late = new_event("user:alice", subject="job/1", expectedversion="1")
        assert (await publisher.send(late)).status == 202
        await publisher.publish("user:alice", subject="job/1", expectedversion="2")
        entries = await platform.keeps_its_promises(publisher, readers)
        [letter] = await parked(backends.broker, 1)

    assert [entry.version for entry in entries if entry.subject == "job/1"] == [1, 2, 3]
    assert letter.reason == "version-conflict"
    assert json.loads(letter.body)["id"] == late["id"]


async def parked(broker: Broker, count: int) -> Sequence[DeadLetter]:
    """All dead letters, once there are so many: entries may be delivered before their batch's poison is parked."""

    async def look() -> Sequence[DeadLetter]:
        letters = await broker.dead_letters(100)
        assert len(letters) >= count
        return letters

    return await answered(look, AssertionError)


def told(letter: DeadLetter) -> tuple[str, str]:
    return letter.reason, letter.attributes["field"]
