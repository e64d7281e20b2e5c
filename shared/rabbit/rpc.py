"""Request and reply: what `answer` makes of the requests on a queue, sent to whoever asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from aiormq.abc import DeliveredMessage
from aiormq.exceptions import DeliveryError

from shared.model.errors import BrokerUnavailable
from shared.ports.broker import RPC_AT_ONCE, DeadLetter, RpcAnswer
from shared.rabbit.link import Channel, Link
from shared.rabbit.messages import Message, attempts_of, reply_message, request_message, request_of
from shared.rabbit.topology import Topology
from shared.rabbit.translation import translated

# Handed to servers that died over it so often, a request is set aside: it may be what kills them.
MAX_ATTEMPTS = 20
# Between tries to serve again after an outage; jittered.
SERVE_AGAIN_S = 0.5
# A request expires before its caller gives up, so that nobody begins with it afterwards.
SHARE_OF_TIMEOUT = 0.9
# The broker's name for "send it to me, on this channel" (RabbitMQ, Direct Reply-to).
_TO_ME = "amq.rabbitmq.reply-to"

Park = Callable[[DeadLetter], Awaitable[None]]

_log = logging.getLogger(__name__)


class Line:
    """A channel of confirmed publishes to the default exchange, opened when it is needed."""

    def __init__(self, link: Link, opened: Callable[[Channel], Awaitable[None]] | None = None) -> None:
        self._link = link
        self._opened = opened
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()

    async def send(self, message: Message) -> None:
        """Returns when a queue has it. Raises the driver's `DeliveryError` where none takes it."""
        channel = await self.ready()
        await channel.underlay.basic_publish(
            message.body, routing_key=message.routing_key, properties=message.properties, mandatory=True, wait=False
        )

    async def ready(self) -> Channel:
        """The channel, once the broker takes publishes on it."""
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                channel = await self._link.channel(confirms=True)
                if self._opened is not None:
                    await self._opened(channel)
                self._channel = channel
        await self._channel.unblocked()
        return self._channel


class Replies:
    """Sends replies to whatever address was asked for, on connections that nothing else is on.

    RabbitMQ 3.10 ends the whole connection on which a made-up direct reply-to is published, and with it
    whatever else was on its way there. So a reply that went under with others is sent again alone.
    """

    def __init__(self, together: Link, alone: Link) -> None:
        self._together, self._alone = Line(together), Line(alone)
        self._turn = asyncio.Lock()

    async def send(self, reply: Message) -> None:
        """Returns when it is where it was to go, or when nobody is there."""
        try:
            with translated():
                await self._delivered(self._together, reply)
        except BrokerUnavailable:
            async with self._turn:
                await self._delivered(self._alone, reply)

    async def _delivered(self, line: Line, reply: Message) -> None:
        try:
            await line.send(reply)
        except DeliveryError:
            _log.info("a reply found nobody: its queue is gone, or full")


@asynccontextmanager
async def serving(
    consuming: Link, replies: Replies, park: Park, topology: Topology, timeout_s: float, answer: RpcAnswer
) -> AsyncIterator[None]:
    """Serves until it is left; then those under way have `timeout_s` for their replies."""
    server = RpcServer(consuming, replies, park, topology, timeout_s, answer)
    running = asyncio.create_task(server.run(), name="rpc server")
    try:
        yield
    finally:
        await server.finish()
        running.cancel()
        await asyncio.wait([running])


class RpcServer:
    """Consumes the queue of requests; what is not acknowledged comes again, here or elsewhere."""

    def __init__(
        self, consuming: Link, replies: Replies, park: Park, topology: Topology, timeout_s: float, answer: RpcAnswer
    ) -> None:
        self._link, self._replies, self._park = consuming, replies, park
        self._topology = topology
        self._timeout_s = timeout_s
        self._answer = answer
        self._under_way: set[asyncio.Task[None]] = set()
        self._channel: Channel | None = None
        self._consumer = uuid4().hex
        self._is_leaving = False

    async def run(self) -> None:
        """Serves, and after each break again, until it is left."""
        while not self._is_leaving:
            try:
                await self._consume()
            except BrokerUnavailable as failed:
                _log.debug("no requests can be served: %s", failed)
            await asyncio.sleep(SERVE_AGAIN_S * random.uniform(0.5, 1.5))

    async def finish(self) -> None:
        """Takes no more, and returns when what is under way has been answered, or its time is over."""
        self._is_leaving = True
        if self._channel is not None and not self._channel.is_closed:
            with contextlib.suppress(BrokerUnavailable), translated():
                async with self._channel.answering(self._timeout_s):
                    await self._channel.underlay.basic_cancel(self._consumer)
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=self._timeout_s)
            for task in late:
                task.cancel()

    async def _consume(self) -> None:
        """Returns when the channel or the consumer has ended."""
        channel = await self._link.channel(confirms=False)
        ended = asyncio.Event()
        channel.underlay.closing.add_done_callback(lambda _: ended.set())
        channel.underlay.on_consumer_cancel_callbacks.add(lambda _: ended.set())

        async def arrived(message: DeliveredMessage) -> None:
            self._begin(channel, message)

        try:
            with translated():
                async with channel.answering(self._timeout_s):
                    # Somebody may have deleted the queue since the connection was opened.
                    await self._topology.declare(channel.underlay)
                    await channel.underlay.basic_qos(prefetch_count=RPC_AT_ONCE)
                    await channel.underlay.basic_consume(self._topology.rpc, arrived, consumer_tag=self._consumer)
            self._channel = channel
            await ended.wait()
        finally:
            await channel.close()

    def _begin(self, channel: Channel, message: DeliveredMessage) -> None:
        """In a task of our own: the driver would cancel its own with the channel, in the middle of a publish."""
        task = asyncio.create_task(self._carry_out(channel, message), name="rpc request")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _carry_out(self, channel: Channel, message: DeliveredMessage) -> None:
        try:
            if attempts_of(message) > MAX_ATTEMPTS:
                await self._set_aside(message)
            elif (reply := await self._answered(message)) is not None:
                await self._reply(message, reply)
            with translated():
                await channel.underlay.basic_ack(message.delivery_tag or 0)
        except BrokerUnavailable as failed:
            _log.info("a request comes again, since it could not be acknowledged: %s", failed)

    async def _answered(self, message: DeliveredMessage) -> bytes | None:
        try:
            return await self._answer(request_of(message))
        except Exception:
            _log.exception("a request failed, and stays without a reply")
            return None

    async def _reply(self, request: DeliveredMessage, body: bytes) -> None:
        """Whoever asked may have gone, and its queue with it: that is told, and nobody waits for it."""
        reply = reply_message(request, body)
        if not reply.routing_key:
            return
        if reply.routing_key.startswith(f"{self._topology.namespace}."):
            # Ours to write to, not the sender's: through us they would reach queues that they may not.
            _log.warning("a reply is not sent: its request asks for it on a queue of Carillon's own")
            return
        try:
            with translated():
                async with asyncio.timeout(self._timeout_s):
                    await self._replies.send(reply)
        except BrokerUnavailable as failed:
            _log.warning("a reply was lost: %s", failed)

    async def _set_aside(self, request: DeliveredMessage) -> None:
        detail = f"{MAX_ATTEMPTS} servers ended over this request; look at it before you send it again"
        await self._park(DeadLetter(request.body, "rpc-unfinished", detail))


class RpcClient:
    """Sends requests, and knows their replies by their correlation ids."""

    def __init__(self, link: Link, topology: Topology, timeout_s: float) -> None:
        self._topology = topology
        self._timeout_s = timeout_s
        self._line = Line(link, self._listen)
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def call(self, body: bytes, timeout_s: float) -> bytes:
        id_ = uuid4().hex
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = reply
        try:
            with translated():
                async with asyncio.timeout(timeout_s) as time:
                    await self._line.ready()
                    await self._line.send(request_message(self._topology.rpc, body, id_, _TO_ME, _expires_ms(time)))
                    return await reply
        finally:
            del self._waiting[id_]

    async def _listen(self, channel: Channel) -> None:
        """Replies come on the channel that the request went by."""
        channel.underlay.closing.add_done_callback(lambda _: self._lose_all())
        async with channel.answering(self._timeout_s):
            await channel.underlay.basic_consume(_TO_ME, self._arrived, no_ack=True)

    async def _arrived(self, message: DeliveredMessage) -> None:
        waiting = self._waiting.get(message.header.properties.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    def _lose_all(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(BrokerUnavailable("the channel was closed before the reply came"))


def _expires_ms(time: asyncio.Timeout) -> int:
    left_s = (time.when() or 0) - asyncio.get_running_loop().time()
    return max(1, int(left_s * SHARE_OF_TIMEOUT * 1000))
