"""One connection to the broker: opened when it is needed, and again after it was lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import cast

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel as PikaChannel
from aio_pika.abc import AbstractConnection as PikaConnection
from aiormq.abc import AbstractChannel
from yarl import URL

from shared.model.errors import BrokerUnavailable
from shared.rabbit import frames
from shared.rabbit.topology import Topology
from shared.rabbit.translation import translated

# The broker gives a silent connection up after two of them, the driver after three.
HEARTBEAT_S = 5
# A dead broker is tried at most this often, however many callers ask.
BACKOFF_S = 0.25
# Saying goodbye to a broker that does not listen.
CLOSE_TIMEOUT_S = 1.0


class Channel:
    """An open channel: the driver's hot-path object, kept alive with what made it."""

    def __init__(self, pika: PikaChannel, underlay: AbstractChannel) -> None:
        self._pika = pika
        # The class and not the Protocol, whose basic_publish does not know `wait`.
        self.underlay = cast(aiormq.Channel, underlay)
        self._is_cut_short = False

    @property
    def is_closed(self) -> bool:
        """Whether it is of no more use."""
        return self._is_cut_short or self.underlay.is_closed

    @asynccontextmanager
    async def answering(self, timeout_s: float) -> AsyncIterator[None]:
        """Bounds commands in time. The driver closes a channel whose command was cut short."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except (TimeoutError, asyncio.CancelledError):
            # It waits for the broker's word on that, and says "closed" only then.
            self._is_cut_short = True
            raise

    async def unblocked(self) -> None:
        """Waits until the broker, which has run out of memory or disk, takes publishes again."""
        await self.underlay.connection.ready()

    async def close(self) -> None:
        """Bounded, and never raises what the driver says about it."""
        with contextlib.suppress(BrokerUnavailable), translated():
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pika.close()


class Link:
    """A connection that comes back when somebody asks for it; nothing retries in the background."""

    def __init__(self, url: str, purpose: str, topology: Topology, timeout_s: float) -> None:
        defaults = {"heartbeat": str(HEARTBEAT_S), "name": f"carillon {purpose}"}
        self._url = URL(url).with_query(defaults | dict(URL(url).query))
        self._purpose = purpose
        self._topology = topology
        self._timeout_s = timeout_s
        self._connection: PikaConnection | None = None
        self._opening: asyncio.Task[PikaConnection] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._failed: tuple[float, str] | None = None

    async def channel(self, *, confirms: bool) -> Channel:
        """Opens a channel, on a new connection if need be. Raises `BrokerUnavailable` in bounded time."""
        with translated():
            try:
                async with asyncio.timeout(self._timeout_s):
                    connection = await self._connected()
                    # A mandatory publish that comes back is an error, never a silent drop.
                    pika = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
                    return Channel(pika, await pika.get_underlay_channel())
            except TimeoutError:
                await self.give_up()
                raise

    async def give_up(self) -> None:
        """Discards a connection that is silent, unless the broker said that it would be.

        Half open, perhaps: heartbeats would need a quarter of a minute to find out.
        """
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or not await _is_blocked(transport.connection):
            self.discard()

    def discard(self) -> None:
        """Drops a connection that has stopped answering, with all that waits in its buffers."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._in_background(_closed(connection))

    def drop(self, channel: Channel) -> None:
        """Closes one channel without waiting for it."""
        self._in_background(channel.close())

    def _in_background(self, goodbye: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(goodbye, name=f"close on {self._purpose} connection")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends the connection; safe to call twice."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self.discard()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _connected(self) -> PikaConnection:
        if self._connection is not None and not _is_open(self._connection):
            self.discard()
        if self._connection is None:
            # One attempt for all who wait; a caller that goes away does not end it for the others.
            self._opening = self._opening or self._start_opening()
            await asyncio.shield(self._opening)
        if self._connection is None:
            raise BrokerUnavailable("the connection was lost while it was opened")
        return self._connection

    def _start_opening(self) -> asyncio.Task[PikaConnection]:
        loop = asyncio.get_running_loop()
        if self._failed is not None and loop.time() < self._failed[0] + BACKOFF_S:
            raise BrokerUnavailable(self._failed[1])
        opening = asyncio.create_task(self._open(), name=f"open {self._purpose} connection")
        opening.add_done_callback(self._opened)
        return opening

    async def _open(self) -> PikaConnection:
        with translated():
            async with asyncio.timeout(self._timeout_s):
                # Not by `aio_pika.connect`: it keeps one that fails to itself, whose destructor then
                # starts a task of nobody's to close it.
                frames.install()
                connection = aio_pika.Connection(self._url)
                try:
                    await connection.connect()
                    channel = await connection.channel()
                    await self._topology.declare(await channel.get_underlay_channel())
                    await channel.close()
                except BaseException:
                    await _closed(connection)
                    raise
                return connection

    def _opened(self, opening: asyncio.Task[PikaConnection]) -> None:
        self._opening = None
        if opening.cancelled():
            return
        if failure := opening.exception():
            detail = failure.detail if isinstance(failure, BrokerUnavailable) else repr(failure)
            self._failed = asyncio.get_running_loop().time(), detail
        else:
            self._connection, self._failed = opening.result(), None


async def _is_blocked(connection: aiormq.abc.AbstractConnection) -> bool:
    try:
        async with asyncio.timeout(0):
            await connection.ready()
    except TimeoutError:
        return True
    return False


def _is_open(connection: PikaConnection) -> bool:
    # aio_pika's own is_closed tells only whether close() was called.
    return connection.transport is not None and connection.transport.connection.is_opened


async def _closed(connection: PikaConnection) -> None:
    with contextlib.suppress(BrokerUnavailable), translated():
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.close()
