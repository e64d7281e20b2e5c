"""The broker on RabbitMQ.

Two connections a process: under a memory or disk alarm the broker stops reading from connections
that publish, and acknowledgements on the same connection would be stuck behind. Who serves requests
opens others for the replies (see rpc.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import chain

from aiormq.abc import AbstractChannel

from shared.model.entry import Entry
from shared.model.event import Event
from shared.model.settings import Settings
from shared.ports.broker import DeadLetter, RpcAnswer, Waiting
from shared.rabbit.feeds import Feeds, OnEntry, OnLost, OnProgress, RabbitFeed
from shared.rabbit.intake import RabbitIntake, open_intake
from shared.rabbit.letters import DeadLetterReader
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import (
    CLOUDEVENT,
    dead_letter_message,
    entry_messages,
    entry_of,
    event_message,
    progress_message,
    raw_message,
)
from shared.rabbit.publishing import OrderedPublisher, SharedPublisher
from shared.rabbit.rpc import Replies, RpcClient, serving
from shared.rabbit.topology import Topology
from shared.rabbit.translation import translated


@asynccontextmanager
async def open_broker(settings: Settings) -> AsyncIterator[RabbitBroker]:
    """The broker in `settings.namespace`. Opening needs no server; the first call does."""
    broker = RabbitBroker(
        settings.amqp_url.get_secret_value(),
        Topology(settings.namespace),
        timeout_s=settings.backend_timeout_s,
        in_flight=settings.confirms_in_flight,
    )
    try:
        yield broker
    finally:
        await broker.close()


class RabbitBroker:
    """See `shared.ports.broker.Broker` for the promises."""

    def __init__(self, url: str, topology: Topology, *, timeout_s: float, in_flight: int) -> None:
        self._topology = topology
        self._timeout_s = timeout_s
        self._publishing = Link(url, "publishing", topology, timeout_s)
        self._consuming = Link(url, "consuming", topology, timeout_s)
        self._events = SharedPublisher(self._publishing, topology.events, timeout_s=timeout_s, in_flight=in_flight)
        self._letters = SharedPublisher(self._publishing, "", timeout_s=timeout_s, in_flight=in_flight)
        self._deliveries = OrderedPublisher(
            self._publishing, topology.deliveries, timeout_s=timeout_s, in_flight=in_flight
        )
        self._feeds = Feeds(self._consuming, topology, timeout_s)
        self._looking = DeadLetterReader(self._consuming, topology, timeout_s)
        self._replying = [Link(url, f"replying {how}", topology, timeout_s) for how in ("together", "alone")]
        self._replies = Replies(*self._replying)
        self._calls = RpcClient(self._publishing, topology, timeout_s)
        self._asking: Channel | None = None

    async def close(self) -> None:
        """Ends all connections; safe to call twice."""
        await asyncio.gather(self._events.close(), self._letters.close())
        await asyncio.gather(*(link.close() for link in (self._publishing, self._consuming, *self._replying)))

    async def publish(self, *events: Event) -> None:
        if events:
            await self._events.publish(*map(event_message, events))

    async def publish_raw(self, body: bytes, content_type: str) -> None:
        await self._events.publish(raw_message(body, content_type))

    def intake(self, prefetch: int) -> AbstractAsyncContextManager[RabbitIntake]:
        return open_intake(self._consuming, self._topology.log, prefetch, self._timeout_s)

    async def park(self, letter: DeadLetter) -> None:
        await self._letters.publish(dead_letter_message(letter, self._topology.dead))

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        return await self._looking.oldest(limit)

    async def requeue_dead(self, ids: Collection[str], bodies: Mapping[str, bytes] | None = None) -> Collection[str]:
        async def publish(letters: Sequence[DeadLetter]) -> None:
            chosen = ((bodies or {}).get(letter.id, letter.body) for letter in letters)
            await self._events.publish(*(raw_message(body, CLOUDEVENT) for body in chosen))

        return await self._looking.settle(frozenset(ids), publish)

    async def drop_dead(self, ids: Collection[str]) -> Collection[str]:
        return await self._looking.settle(frozenset(ids))

    async def deliver(self, entries: Sequence[Entry], watched: Collection[int] = ()) -> Collection[int]:
        messages = (entry_messages(entry, watched=entry.position in watched) for entry in entries)
        returned = await self._deliveries.publish(chain.from_iterable(messages))
        unaddressed = {entry.position for entry in entries if not entry.audience}.intersection(watched)
        return unaddressed.union(entry_of(message).position for message in returned)

    async def tell_progress(self, position: int) -> None:
        await self._deliveries.publish([progress_message(position)])

    async def open_feed(self, on_entry: OnEntry, on_lost: OnLost, on_progress: OnProgress | None = None) -> RabbitFeed:
        return await self._feeds.open(on_entry, on_lost, on_progress)

    async def waiting(self) -> Waiting:
        async with self._questions() as channel:
            counts = [await _messages_in(channel, queue) for queue in (self._topology.log, self._topology.dead)]
        return Waiting(*counts)

    def serve_rpc(self, answer: RpcAnswer) -> AbstractAsyncContextManager[None]:
        return serving(self._consuming, self._replies, self.park, self._topology, self._timeout_s, answer)

    async def call(self, body: bytes, timeout_s: float) -> bytes:
        return await self._calls.call(body, timeout_s)

    async def ping(self) -> None:
        async with self._questions() as channel:
            await channel.exchange_declare(self._topology.events, passive=True)

    @asynccontextmanager
    async def _questions(self) -> AsyncIterator[AbstractChannel]:
        """A channel for what answers at once, bounded in time."""
        if self._asking is None or self._asking.is_closed:
            self._asking = await self._publishing.channel(confirms=False)
        with translated():
            async with self._asking.answering(self._timeout_s):
                yield self._asking.underlay


async def _messages_in(channel: AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True)).message_count or 0
