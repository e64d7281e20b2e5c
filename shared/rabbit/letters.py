"""Dead letters: stored by confirmed publish, looked at without being taken, and taken one by one.

A quorum queue has no random access. So whoever wants some of them holds all of the oldest unacknowledged
for a moment, settles those, and gives the rest back in one piece, which keeps their order. Whatever
breaks in between, the broker gives back what was not acknowledged. One process at a time: two would each
see some of the letters. An exclusive queue, which a broker gives to one connection, says whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from aiormq.abc import ArgumentsType, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource

from shared.model.errors import BrokerUnavailable
from shared.ports.broker import DeadLetter
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import dead_letter_of
from shared.rabbit.topology import Topology
from shared.rabbit.translation import translated

# Each look takes this many, however few are asked for: a quorum queue puts what returns behind what
# returned before, so that a look at fewer letters than the last one took would change their order.
MAX_LETTERS = 500
# How long nothing comes before the queue is believed to be empty.
QUIET_S = 0.1
# Backend timeouts that settling may take: 500 large bodies are published, and confirmed by a disk.
SETTLE_TIMEOUTS = 5
# Between tries to have the turn that another process has.
TURN_EVERY_S = 0.1
# Of a process that hangs with the turn in hand; longer than any settling.
TURN_EXPIRES_MS = 300_000

Act = Callable[[Sequence[DeadLetter]], Awaitable[None]]
"""What becomes of letters before they are taken off."""


async def _nothing(letters: Sequence[DeadLetter]) -> None:
    """For letters that are dropped."""


class DeadLetterReader:
    """Looks at the queue through one consumer: what several gets took would return in another order."""

    def __init__(self, link: Link, topology: Topology, timeout_s: float) -> None:
        self._link = link
        self._queue, self._turn_queue = topology.dead, topology.dead_turn
        self._timeout_s = timeout_s
        self._channel: Channel | None = None
        # The broker's turn is a connection's; this one is a caller's.
        self._turn = asyncio.Lock()

    async def oldest(self, limit: int) -> Sequence[DeadLetter]:
        """Up to `limit` and `MAX_LETTERS`."""
        with translated():
            async with asyncio.timeout(3 * self._timeout_s), self._turn, self._in_hand(self._timeout_s) as channel:
                return (await self._look(channel, frozenset(), _nothing))[:limit]

    async def settle(self, ids: Collection[str], act: Act = _nothing) -> Collection[str]:
        """Takes those of the oldest `MAX_LETTERS` that have these ids off once `act` has returned; their ids."""
        within_s = SETTLE_TIMEOUTS * self._timeout_s
        with translated():
            async with asyncio.timeout(2 * within_s), self._turn, self._in_hand(within_s) as channel:
                seen = await self._look(channel, ids, act)
                return [letter.id for letter in seen if letter.id in ids]

    @asynccontextmanager
    async def _in_hand(self, timeout_s: float) -> AsyncIterator[Channel]:
        """Inside, for so long, no other process has letters in hand.

        Raises `BrokerUnavailable` where it is not our turn in time.
        """
        until = asyncio.get_running_loop().time() + self._timeout_s
        while (channel := await self._turn_taken()) is None:
            if asyncio.get_running_loop().time() >= until:
                raise BrokerUnavailable("another process has the dead letters in hand")
            await asyncio.sleep(TURN_EVERY_S)
        try:
            async with channel.answering(timeout_s):
                yield channel
        finally:
            if not channel.is_closed:
                async with channel.answering(self._timeout_s):
                    await channel.underlay.queue_delete(self._turn_queue)

    async def _turn_taken(self) -> Channel | None:
        """The channel to look on; None where another connection has the turn. The broker closes the channel then."""
        channel = await self._open_channel()
        try:
            async with channel.answering(self._timeout_s):
                expires: ArgumentsType = {"x-expires": TURN_EXPIRES_MS}
                await channel.underlay.queue_declare(self._turn_queue, exclusive=True, arguments=expires)
        except ChannelLockedResource:
            return None
        return channel

    async def _look(self, channel: Channel, ids: Collection[str], act: Act) -> Sequence[DeadLetter]:
        underlay = channel.underlay
        seen: list[DeliveredMessage] = []
        settled: set[int | None] = set()

        async def look(message: DeliveredMessage) -> None:
            seen.append(message)

        await underlay.basic_qos(prefetch_count=MAX_LETTERS)
        consuming = await underlay.basic_consume(self._queue, look)
        try:
            await self._gather(channel, seen)
            letters = [(message.delivery_tag, dead_letter_of(message)) for message in seen]
            if chosen := [(tag, letter) for tag, letter in letters if letter.id in ids]:
                await act([letter for _, letter in chosen])
                for tag, _ in chosen:
                    await underlay.basic_ack(tag or 0)
                    settled.add(tag)
        finally:
            await underlay.basic_cancel(consuming.consumer_tag or "")
            if kept := [message.delivery_tag for message in seen if message.delivery_tag not in settled]:
                await underlay.basic_nack(kept[-1] or 0, multiple=True, requeue=True)
        return [letter for _, letter in letters]

    async def _gather(self, channel: Channel, seen: Sequence[DeliveredMessage]) -> None:
        """Returns when nothing more comes. The count alone is no guide: it lags behind what was returned."""
        waiting, before = True, -1
        while len(seen) < MAX_LETTERS and (waiting or len(seen) > before):
            before = len(seen)
            await asyncio.sleep(QUIET_S)
            found = await channel.underlay.queue_declare(self._queue, passive=True)
            waiting = bool(found.message_count)

    async def _open_channel(self) -> Channel:
        """The same one for every look: on it the last return comes before the next count."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._link.channel(confirms=False)
        return self._channel
