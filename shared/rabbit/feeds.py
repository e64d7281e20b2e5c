"""Feeds: queues of this process's own, many of them on a few shared channels.

A channel a feed would take a process in the broker each and stop at 2047; one channel for all would
open thousands of them one after the other, and one refused command would end them all.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from aiormq import spec
from aiormq.abc import DeliveredMessage

from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import PROGRESS_KEY, entry_of, progress_of
from shared.rabbit.topology import Topology
from shared.rabbit.translation import translated

OnEntry = Callable[[Entry], None]
OnLost = Callable[[str], None]
OnProgress = Callable[[int], None]

# Measured with 2,000 feeds, opened at once on a busy machine: 352/s on 40 channels, 324 on 4, 273 on
# one, 204 with a channel each.
FEEDS_PER_CHANNEL = 500
# One command's time must be enough for so many, also on a broker that a thousand others are at: a feed
# of five thousand users that is opened again has fifteen thousand.
BIND_AT_ONCE = 50

_log = logging.getLogger(__name__)


class Feeds:
    """All feeds of this process."""

    def __init__(self, link: Link, topology: Topology, timeout_s: float) -> None:
        self._link = link
        self._topology = topology
        self._timeout_s = timeout_s
        self._channels: list[FeedChannel] = []
        self._opening = asyncio.Lock()

    async def open(self, on_entry: OnEntry, on_lost: OnLost, on_progress: OnProgress | None) -> RabbitFeed:
        with translated():
            async with asyncio.timeout(self._timeout_s):
                await self._opening.acquire()
        try:
            channel = await self._channel_with_room()
        finally:
            self._opening.release()
        feed = RabbitFeed(channel, on_entry, on_lost, on_progress)
        await channel.add(feed)
        return feed

    async def _channel_with_room(self) -> FeedChannel:
        self._channels = [channel for channel in self._channels if not channel.is_closed]
        for channel in self._channels:
            if channel.reserve():
                return channel
        opened = FeedChannel(await self._link.channel(confirms=False), self._topology, self._timeout_s)
        self._channels.append(opened)
        opened.reserve()
        return opened


class FeedChannel:
    """One channel with up to `FEEDS_PER_CHANNEL` consumers."""

    def __init__(self, channel: Channel, topology: Topology, timeout_s: float) -> None:
        self._channel = channel
        self._underlay = channel.underlay
        self._topology = topology
        self._timeout_s = timeout_s
        self._places = FEEDS_PER_CHANNEL
        self._feeds: dict[str, RabbitFeed] = {}
        self._commands: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._underlay.closing.add_done_callback(lambda _: self._lose_all("the connection or its channel was closed"))
        self._underlay.on_consumer_cancel_callbacks.add(self._cancelled)

    @property
    def is_closed(self) -> bool:
        return self._channel.is_closed

    def reserve(self) -> bool:
        """Takes one place, if there is one."""
        has_room = self._places > 0
        self._places -= has_room
        return has_room

    async def add(self, feed: RabbitFeed) -> None:
        """Gives the feed its queue."""
        self._feeds[feed.queue] = feed

        async def declare_and_consume() -> None:
            # Exclusive queues must be classic. The name is fresh: a fixed one is still locked by the
            # dead connection for seconds after a break. Nothing bounds its length but the heartbeat:
            # dropping entries would make gaps, and a reader that stops reading is cut off with it.
            await self._underlay.queue_declare(feed.queue, exclusive=True, auto_delete=True, nowait=True)
            if feed.wants_progress:
                await self._underlay.queue_bind(feed.queue, self._topology.deliveries, PROGRESS_KEY, nowait=True)
            await self._underlay.basic_consume(feed.queue, feed.arrived, no_ack=True, consumer_tag=feed.queue)

        try:
            await self._command(declare_and_consume)
        except BaseException:
            self.remove(feed)
            raise

    def remove(self, feed: RabbitFeed) -> None:
        """Cancels the consumer, with which the queue goes; returns at once."""
        if self._feeds.pop(feed.queue, None) is None:
            return
        self._places += 1
        if not self.is_closed:
            self._start(lambda: self._underlay.basic_cancel(feed.queue, nowait=True))

    async def bind(self, queue: str, tags: Collection[str]) -> None:
        ordered = list(tags)
        for start in range(0, len(ordered), BIND_AT_ONCE):
            await self._bind_some(queue, ordered[start : start + BIND_AT_ONCE])

    async def _bind_some(self, queue: str, tags: Sequence[str]) -> None:
        """One answer for all: the broker carries out the commands of a channel in order."""

        async def bind_all() -> None:
            for tag in tags[:-1]:
                await self._underlay.queue_bind(queue, self._topology.deliveries, tag, nowait=True)
            await self._underlay.queue_bind(queue, self._topology.deliveries, tags[-1])

        await self._command(bind_all)

    async def unbind(self, queue: str, tags: Collection[str]) -> None:
        """An answer for each: the protocol knows no other way to take a binding away."""
        for tag in tags:
            await self._command(partial(self._underlay.queue_unbind, queue, self._topology.deliveries, tag))

    async def _command(self, steps: Callable[[], Awaitable[object]]) -> None:
        with translated():
            # A caller that goes away in the middle of a command would have the driver close the
            # channel, and with it everybody else's feed.
            await asyncio.shield(self._start(steps))

    def _start(self, steps: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        command = asyncio.create_task(self._in_turn(steps), name="feed command")
        self._commands.add(command)
        command.add_done_callback(self._ended)
        return command

    async def _in_turn(self, steps: Callable[[], Awaitable[object]]) -> None:
        """The time runs from the command's turn: a long queue is no silence."""
        async with self._turn, self._channel.answering(self._timeout_s):
            await steps()

    def _ended(self, command: asyncio.Task[None]) -> None:
        self._commands.discard(command)
        if not command.cancelled() and (failure := command.exception()):
            _log.debug("feed command failed: %r", failure)

    def _cancelled(self, frame: spec.Basic.Cancel) -> None:
        if feed := self._feeds.pop(frame.consumer_tag or "", None):
            self._places += 1
            feed.lose("the broker cancelled the consumer")

    def _lose_all(self, reason: str) -> None:
        feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            feed.lose(reason)


class RabbitFeed:
    """See `shared.ports.broker.Feed`."""

    def __init__(
        self, channel: FeedChannel, on_entry: OnEntry, on_lost: OnLost, on_progress: OnProgress | None
    ) -> None:
        self.queue = f"carillon.feed.{uuid.uuid4().hex}"
        self._channel = channel
        self._on_entry = on_entry
        self._on_lost = on_lost
        self._on_progress = on_progress
        self._ended: str | None = None

    @property
    def wants_progress(self) -> bool:
        return self._on_progress is not None

    async def arrived(self, message: DeliveredMessage) -> None:
        """The driver runs one task a message: whatever awaited here would let the next one overtake."""
        if self._ended is not None:
            return
        try:
            position = progress_of(message)
            if position is None:
                self._on_entry(entry_of(message))
            elif self._on_progress is not None:
                self._on_progress(position)
        except Exception as failure:
            # The entry did not get through, so the feed has a gap.
            _log.exception("an entry was not taken")
            self._channel.remove(self)
            self.lose(f"an entry was not taken: {failure!r}")

    async def bind(self, tags: Collection[str]) -> None:
        self._check_open()
        if tags:
            await self._channel.bind(self.queue, tags)
            self._check_open()

    async def unbind(self, tags: Collection[str]) -> None:
        self._check_open()
        if tags:
            await self._channel.unbind(self.queue, tags)

    async def close(self) -> None:
        if self._ended is None:
            self._ended = "it was closed"
            self._channel.remove(self)

    def lose(self, reason: str) -> None:
        """Ends the feed and tells its owner, once."""
        if self._ended is None:
            self._ended = reason
            self._on_lost(reason)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise BrokerUnavailable(f"the feed has ended: {self._ended}")
