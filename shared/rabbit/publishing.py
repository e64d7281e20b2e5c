"""Confirmed publishing: for many callers together, or many messages in order for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

from aiormq.abc import DeliveredMessage
from aiormq.exceptions import PublishError

from shared.model.errors import BrokerUnavailable
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import Message
from shared.rabbit.outlet import Outlet
from shared.rabbit.translation import translated

Outstanding = deque[asyncio.Future[object]]


class _Call:
    """Messages that one caller waits for."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.unsent = deque(messages)
        self._unconfirmed = len(messages)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def confirm_one(self) -> None:
        self._unconfirmed -= 1
        if not self._unconfirmed and not self.done.done():
            self.done.set_result(None)

    def fail(self, failure: BaseException) -> None:
        self.unsent.clear()
        if not self.done.done():
            self.done.set_exception(failure)


class SharedPublisher(Outlet):
    """Publishes for many callers, each of whom waits for its own messages; what no queue takes is an error.

    What callers have while others are being sent is sent together next.
    """

    def __init__(self, link: Link, exchange: str, *, timeout_s: float, in_flight: int) -> None:
        super().__init__(link, exchange, timeout_s=timeout_s, in_flight=in_flight)
        self._calls: deque[_Call] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._outstanding: set[str] = set()
        self._confirmed = asyncio.Event()

    async def publish(self, *messages: Message) -> None:
        """Returns when the broker has stored all of them in a queue, in this order. Raises `BrokerUnavailable`."""
        call = _Call(messages)
        self._calls.append(call)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name=f"publish to {self._exchange!r}")
        with translated():
            try:
                async with asyncio.timeout(self._timeout_s):
                    await call.done
            except PublishError as returned:
                # Somebody deleted the queue: the next connection declares it again.
                self._link.discard()
                raise BrokerUnavailable(f"no queue takes what is published to {self._exchange!r}") from returned
            except TimeoutError:
                await self._give_up_if_silent()
                raise
            finally:
                call.unsent.clear()

    async def close(self) -> None:
        """Sends nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send(self) -> None:
        """Sends until nobody has anything. Its failure is that of all who wait to be sent."""
        try:
            while self._calls:
                # A blocked connection that breaks says nothing more.
                async with asyncio.timeout(self._timeout_s):
                    channel = await self._open_channel()
                if group := self._next_group():
                    await self._send_group(channel, group)
                elif self._calls:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except BaseException as failed:
            for call in self._calls:
                call.fail(failed if isinstance(failed, Exception) else BrokerUnavailable("it is being left"))
            self._calls.clear()
            if not isinstance(failed, Exception):
                raise

    def _next_group(self) -> list[tuple[_Call, Message]]:
        """What may be sent now, in the order of the calls."""
        group: list[tuple[_Call, Message]] = []
        while self._calls and len(self._outstanding) < self._in_flight:
            call = self._calls[0]
            if not call.unsent:
                self._calls.popleft()
            # The driver tells returned messages apart by their ids, so no id may be under way twice.
            elif call.unsent[0].id in self._outstanding:
                break
            else:
                message = call.unsent.popleft()
                self._outstanding.add(message.id)
                group.append((call, message))
        return group

    async def _send_group(self, channel: Channel, group: Sequence[tuple[_Call, Message]]) -> None:
        try:
            confirms = await self._send_together(channel, [message for _, message in group])
        except BaseException as failed:
            for call, message in group:
                self._outstanding.discard(message.id)
                call.fail(failed if isinstance(failed, Exception) else BrokerUnavailable("it is being left"))
            raise
        for (call, message), confirm in zip(group, confirms, strict=True):
            confirm.add_done_callback(partial(self._settle, call, message.id))

    def _settle(self, call: _Call, message_id: str, confirm: asyncio.Future[object]) -> None:
        self._outstanding.discard(message_id)
        self._confirmed.set()
        if confirm.cancelled():
            call.fail(BrokerUnavailable("the channel was left"))
        elif failure := confirm.exception():
            call.fail(failure)
        else:
            self._note_confirm()
            call.confirm_one()


class OrderedPublisher(Outlet):
    """Publishes many messages in order, for one caller at a time."""

    def __init__(self, link: Link, exchange: str, *, timeout_s: float, in_flight: int) -> None:
        super().__init__(link, exchange, timeout_s=timeout_s, in_flight=in_flight)
        self._ordered = asyncio.Lock()

    async def publish(self, messages: Iterable[Message]) -> Sequence[DeliveredMessage]:
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
        channel = await self._open_channel()

        async def confirm_until(left: int) -> None:
            while len(outstanding) > left:
                try:
                    await outstanding[0]
                except PublishError as unrouted:
                    if unrouted.message is not None:
                        returned.append(unrouted.message)
                outstanding.popleft()
                silence.reschedule(self._note_confirm() + self._timeout_s)

        # Half a window at a time: the broker confirms one half while the other is on its way.
        unsent, at_once = iter(messages), max(1, self._in_flight // 2)
        while some := list(islice(unsent, at_once)):
            await confirm_until(self._in_flight - len(some))
            outstanding += await self._send_together(channel, some)
        await confirm_until(0)

    async def _abandon(self, outstanding: Outstanding) -> None:
        """Leaves the channel, with the confirms that may still come on it, to no other."""
        for confirmed in outstanding:
            confirmed.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            self._link.drop(channel)
        await asyncio.gather(*outstanding, return_exceptions=True)
