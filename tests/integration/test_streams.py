"""From a publish to the streams of those it is meant for, across edges and reconnects."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from shared.model.cursor import Cursor
from tests.eventually import WITHIN_S
from tests.harness.checker import Confirmed
from tests.harness.platform import FourServices
from tests.harness.publisher import STRUCTURED, Publisher, new_event, new_traceparent
from tests.harness.reader import Reader

pytestmark = pytest.mark.servers


def ids(*published: Confirmed) -> list[Any]:
    return [event.attributes["id"] for event in published]


def received(reader: Reader) -> list[Any]:
    """Ids in the order of their arrival, but for the last event of the run, which goes to everyone."""
    return [each.data["id"] for each in reader.reading.deliveries if each.type != "harness.last"]


async def test_each_reader_receives_what_is_meant_for_it_on_either_edge(two_edges: FourServices) -> None:
    async with two_edges.publisher() as publisher, two_edges.readers() as readers:
        alice_here, alice_there = await readers.open_all(["alice", "alice"], ["builds"])
        bob, carol = await readers.open("bob", "builds", "chat/1"), await readers.open("carol")
        to_alice = await publisher.publish("user:alice")
        to_builds = await publisher.publish("topic:builds")
        to_all = await publisher.publish("everyone", subject="news/1")
        to_two = await publisher.publish("user:alice user:bob topic:builds", subject="news/1")
        to_chat = await publisher.publish("topic:chat/1 user:dave")
        await publisher.publish()
        to_carol = await publisher.publish("user:carol user:carol", final="true", subject="news/1")
        await two_edges.keeps_its_promises(publisher, readers)

    assert received(alice_here) == received(alice_there) == ids(to_alice, to_builds, to_all, to_two)
    assert received(bob) == ids(to_builds, to_all, to_two, to_chat)
    assert received(carol) == ids(to_all, to_carol)


async def test_a_session_that_ends_takes_nothing_from_the_others_of_its_user(two_edges: FourServices) -> None:
    async with two_edges.publisher() as publisher, two_edges.readers() as readers:
        first, second = await readers.open_all(["alice", "alice"], ["builds"], edge=0)
        before = await publisher.publish("user:alice topic:builds")
        await readers.received(before.attributes["id"], WITHIN_S)
        await readers.stop(first)
        after = await publisher.publish("topic:builds")
        await readers.received(after.attributes["id"], WITHIN_S, [second])
        readers.all.remove(first)
        await two_edges.keeps_its_promises(publisher, readers)

    assert received(first) == ids(before)
    assert received(second) == ids(before, after)


async def test_a_stream_resumes_from_any_cursor_it_ever_had(two_edges: FourServices) -> None:
    async with two_edges.publisher() as publisher, two_edges.readers() as readers:
        early = await readers.open("alice", edge=0)
        published = [await publisher.publish("user:alice", data=number) for number in range(3)]
        await readers.received(published[-1].attributes["id"], WITHIN_S)
        await readers.stop(early)
        published += [await publisher.publish("user:alice", data=number) for number in range(3, 6)]
        cursors = [delivery.cursor for delivery in early.reading.deliveries]

        by_header = [await readers.open("alice", resume=cursor) for cursor in [early.reading.start, *cursors]]
        by_parameter = [await readers.open("alice", start=cursor) for cursor in [early.reading.start, *cursors]]
        whole = await readers.open("alice", start="earliest")
        readers.all.remove(early)
        await two_edges.keeps_its_promises(publisher, readers)

    for reader_by in (by_header, by_parameter):
        assert [received(reader) for reader in reader_by] == [ids(*published[seen:]) for seen in range(4)]
    assert received(whole) == ids(*published)
    assert Cursor.parse(whole.reading.start).position == 0


async def test_the_header_is_newer_than_the_address(platform: FourServices) -> None:
    """A browser repeats the address of its EventSource at each reconnect, and tells by the header where it is."""
    async with platform.publisher() as publisher, platform.readers() as readers:
        early = await readers.open("alice", start="earliest")
        first, second = [await publisher.publish("user:alice") for _ in range(2)]
        await readers.received(second.attributes["id"], WITHIN_S)
        seen_one = early.reading.deliveries[0].cursor
        both = await readers.open("alice", start="earliest", resume=seen_one)
        await readers.received(second.attributes["id"], WITHIN_S, [both])
        await platform.keeps_its_promises(publisher, readers)

    assert received(early) == ids(first, second)
    assert received(both) == ids(second)


async def test_a_foreign_cursor_is_answered_by_a_reset_and_the_stream_goes_on(platform: FourServices) -> None:
    async with platform.publisher() as publisher, platform.readers() as readers:
        early = await readers.open("alice")
        before = await publisher.publish("user:alice")
        await readers.received(before.attributes["id"], WITHIN_S)
        await readers.stop(early)
        readers_of = {cursor: await readers.open("alice", resume=cursor) for cursor in ("other.7", "%%%")}
        after = await publisher.publish("user:alice")
        await readers.received(after.attributes["id"], WITHIN_S, list(readers_of.values()))

    assert {cursor: reader.reading.resets for cursor, reader in readers_of.items()} == {
        "other.7": ["other-log"],
        "%%%": ["unreadable-cursor"],
    }
    assert [received(reader) for reader in readers_of.values()] == [ids(after)] * 2


async def test_one_publisher_keeps_its_order(platform: FourServices) -> None:
    async with platform.publisher() as publisher, platform.readers() as readers:
        reader = await readers.open("alice")
        published = [await publisher.publish("user:alice", subject="job/1") for _ in range(100)]
        entries = await platform.keeps_its_promises(publisher, readers)

    assert received(reader) == ids(*published)
    assert [entry.version for entry in entries if entry.subject == "job/1"] == list(range(1, 101))


async def test_every_event_published_three_times_is_in_the_log_once(platform: FourServices) -> None:
    async with platform.publisher() as publisher, platform.readers() as readers:
        alice, bob = await readers.open("alice"), await readers.open("bob")
        await publish_each_thrice(platform, publisher)
        stored = publisher.confirmed[0]
        again = await publisher.send(stored.attributes)
        entries = await platform.keeps_its_promises(publisher, readers)

    assert again.body["accepted"] == [
        {"source": stored.attributes["source"], "id": stored.attributes["id"], "duplicate": True}
    ]
    assert again.body["traceparent"] == stored.attributes["traceparent"]
    assert len(entries) == 60 + 1
    assert len(received(alice)) + len(received(bob)) == 60


async def publish_each_thrice(platform: FourServices, publisher: Publisher) -> None:
    """At once, twice over HTTP and once over AMQP, which adds no trace of its own."""
    events = [
        new_event(f"user:{('alice', 'bob')[number % 2]}", data=number, traceparent=new_traceparent())
        for number in range(60)
    ]
    async with platform.backends() as backends:
        for begin in range(0, len(events), 20):
            some = events[begin : begin + 20]
            await asyncio.gather(
                *(publisher.publish_event(event) for event in some),
                *(publisher.publish_event(event) for event in some),
                *(backends.broker.publish_raw(json.dumps(event).encode(), STRUCTURED) for event in some),
            )


async def test_the_console_starts_beside_them(platform: FourServices) -> None:
    console = await platform.start_console()
    assert console.is_running
