"""Confirmed publishing: one at a time for many callers, or many in order for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from aiormq.exceptions import PublishError

from shared.model.errors import BrokerUnavailable
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import Message
from shared.rabbit.translation import translated

Outstanding = deque[asyncio.Task[None]]


class Publisher:
    """Publishes to one exchange on a channel of its own.

    At most `in_flight` confirms are awaited at a time: with more of them the driver, which scans all
    of them for each multiple ack, gets slower, not faster.
    """

    def __init__(self, link: Link, exchange: str, *, timeout_s: float, in_flight: int) -> None:
        self._link = link
        self._exchange = exchange
        self._timeout_s = timeout_s
        self._in_flight = in_flight
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._window = asyncio.Semaphore(in_flight)
        self._ordered = asyncio.Lock()
        self._sending: dict[str, asyncio.Future[None]] = {}
        self._last_confirm = 0.0

    async def publish(self, message: Message) -> None:
        """Returns when the broker has stored the message in a queue. Raises `BrokerUnavailable`."""
        with translated():
            try:
                async with asyncio.timeout(self._timeout_s), self._window:
                    await self._publish_alone(message)
            except TimeoutError:
                await self._give_up_if_silent()
                raise

    async def publish_in_order(self, messages: Iterable[Message]) -> None:
        """Returns when all are confirmed; raises `BrokerUnavailable` after a silence of `timeout_s`.

        What was sent before a failure is a beginning of `messages`, without a hole: a feed that had
        the tenth but not the ninth would later take the ninth for a repeat, and lose it.
        """
        outstanding: Outstanding = deque()
        with translated():
            async with self._ordered:
                try:
                    async with asyncio.timeout(self._timeout_s) as silence:
                        await self._send_all(messages, outstanding, silence)
                except TimeoutError:
                    await self._give_up_if_silent()
                    raise
                finally:
                    if outstanding:
                        await self._abandon(outstanding)

    async def _send_all(self, messages: Iterable[Message], outstanding: Outstanding, silence: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        channel = await self._open_channel()

        async def confirm_oldest() -> None:
            await outstanding[0]
            outstanding.popleft()
            silence.reschedule(loop.time() + self._timeout_s)

        for message in messages:
            if len(outstanding) >= self._in_flight:
                await confirm_oldest()
            # Tasks begin in the order of their creation, and queue for the channel's lock in it. None
            # has a timeout of its own: one that ran out before it was sent would leave a hole.
            outstanding.append(loop.create_task(self._send(channel, message, mandatory=False)))
        while outstanding:
            await confirm_oldest()

    async def _abandon(self, outstanding: Outstanding) -> None:
        """Cancels all at once, before any of them runs again, and leaves the channel to no other."""
        for publish in outstanding:
            publish.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            self._link.drop(channel)
        await asyncio.gather(*outstanding, return_exceptions=True)

    async def _publish_alone(self, message: Message) -> None:
        """The driver tells returned messages apart by their ids, so no id may be under way twice."""
        message_id = message.properties.message_id or ""
        while other := self._sending.get(message_id):
            await asyncio.shield(other)
        self._sending[message_id] = mine = asyncio.get_running_loop().create_future()
        try:
            await self._send(await self._open_channel(), message, mandatory=True)
        except PublishError as returned:
            # Somebody deleted the queue: the next connection declares it again.
            self._link.discard()
            raise BrokerUnavailable(f"no queue takes what is published to {self._exchange!r}") from returned
        finally:
            del self._sending[message_id]
            mine.set_result(None)

    async def _send(self, channel: Channel, message: Message, *, mandatory: bool) -> None:
        await channel.underlay.basic_publish(
            message.body,
            exchange=self._exchange,
            routing_key=message.routing_key,
            properties=message.properties,
            mandatory=mandatory,
            wait=False,
        )
        self._last_confirm = asyncio.get_running_loop().time()

    async def _open_channel(self) -> Channel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.channel(confirms=True)
        # Blocked by a memory or disk alarm: what is sent now would only pile up in this process.
        await self._channel.unblocked()
        return self._channel

    async def _give_up_if_silent(self) -> None:
        """Leaves a connection that nothing comes back from; not one that is only slow."""
        if asyncio.get_running_loop().time() - self._last_confirm >= self._timeout_s / 2:
            await self._link.give_up()
