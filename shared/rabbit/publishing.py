"""Confirmed publishing: one at a time for many callers, or many in order for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import aiormq
from aiormq import spec
from aiormq.abc import ChannelFrame, DeliveredMessage, FrameType
from aiormq.exceptions import PublishError
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from shared.model.errors import BrokerUnavailable
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import Message
from shared.rabbit.translation import translated

Outstanding = deque[asyncio.Future[object]]


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

    async def publish_in_order(self, messages: Iterable[Message]) -> Sequence[DeliveredMessage]:
        """Returns when all are confirmed, with those watched that no queue took.

        Raises `BrokerUnavailable` after a silence of `timeout_s`.

        What was sent before a failure is a beginning of `messages`, without a hole: a feed that had
        the tenth but not the ninth would later take the ninth for a repeat, and lose it.
        """
        outstanding: Outstanding = deque()
        returned: list[DeliveredMessage] = []
        with translated():
            async with self._ordered:
                try:
                    async with asyncio.timeout(self._timeout_s) as silence:
                        await self._send_all(messages, outstanding, returned, silence)
                except TimeoutError:
                    await self._give_up_if_silent()
                    raise
                finally:
                    if outstanding:
                        await self._abandon(outstanding)
        return returned

    async def _send_all(
        self,
        messages: Iterable[Message],
        outstanding: Outstanding,
        returned: list[DeliveredMessage],
        silence: asyncio.Timeout,
    ) -> None:
        loop = asyncio.get_running_loop()
        channel = await self._open_channel()

        async def confirm_until(left: int) -> None:
            while len(outstanding) > left:
                try:
                    await outstanding[0]
                except PublishError as unrouted:
                    if unrouted.message is not None:
                        returned.append(unrouted.message)
                outstanding.popleft()
                self._last_confirm = loop.time()
                silence.reschedule(self._last_confirm + self._timeout_s)

        # Half a window at a time: the broker confirms one half while the other is on its way.
        unsent, at_once = iter(messages), max(1, self._in_flight // 2)
        while some := list(islice(unsent, at_once)):
            await confirm_until(self._in_flight - len(some))
            await self._send_together(channel, some, outstanding)
        await confirm_until(0)

    async def _send_together(self, channel: Channel, messages: Sequence[Message], outstanding: Outstanding) -> None:
        """What the driver's `basic_publish` does, for many messages at once.

        A task, a turn at the lock and a write to the socket for each took 91 µs of processor a
        message, against 34. What is written together is also sent together, or not at all.
        """
        driver = channel.underlay
        async with driver.lock:
            frames: list[FrameType] = []
            for message in messages:
                driver.delivery_tag += 1
                driver.confirmations[driver.delivery_tag] = confirmed = driver.create_future()
                outstanding.append(confirmed)
                is_watched = message.is_watched and _watch(driver, message, confirmed)
                frames += _frames(message, self._exchange, driver.max_content_size, mandatory=is_watched)
            await driver.write_queue.put(ChannelFrame.marshall(driver.number, frames))

    async def _abandon(self, outstanding: Outstanding) -> None:
        """Leaves the channel, with the confirms that may still come on it, to no other."""
        for confirmed in outstanding:
            confirmed.cancel()
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


def _watch(driver: aiormq.Channel, message: Message, confirmed: asyncio.Future[object]) -> bool:
    """Has the driver know the message when it comes back, by its id; not where that id is under way already."""
    by_id, id_ = driver.message_id_delivery_tag, message.properties.message_id or ""
    if id_ in by_id:
        return False
    by_id[id_] = driver.delivery_tag
    confirmed.add_done_callback(lambda _: by_id.pop(id_, None))
    return True


def _frames(message: Message, exchange: str, max_content_bytes: int, *, mandatory: bool) -> Iterator[FrameType]:
    """A message as AMQP sends it: method, header, and the body in as many frames as it needs."""
    yield spec.Basic.Publish(exchange=exchange, routing_key=message.routing_key, mandatory=mandatory)
    yield ContentHeader(properties=message.properties, body_size=len(message.body))
    for start in range(0, len(message.body), max_content_bytes):
        yield ContentBody(message.body[start : start + max_content_bytes])
