"""Hypercorn's connection, with a few things of ours.

It ends with its client, it can hand its socket over, and a request costs it less: what is written together leaves
together, and that it is idle is a timer.
"""

from __future__ import annotations

import asyncio
from time import time
from typing import Any

from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio import tcp_server as hypercorn_tcp_server
from hypercorn.asyncio.tcp_server import TCPServer as HypercornTCPServer
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated

from shared.web.asgi import TaskGroup
from shared.web.stream import EXTENSION, TAKE_OVER, WRITE_BYTES, Speaker
from shared.web.wire import Wire, Wires


class Config(HypercornConfig):
    """Hypercorn's, the streams whose sockets its server has handed over, and the connections without a request."""

    def __init__(self) -> None:
        super().__init__()
        self.wires = Wires()
        self.idle = IdleConnections()
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_of = 0

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Those of every response. The date in them is written once a second, and not for each."""
        now = int(time())
        if now != self._headers_of:
            self._headers, self._headers_of = super().response_headers(protocol), now
        return self._headers


class IdleConnections:
    """Those of one server that wait for their next request: each for the keep-alive time, none once the server stops.

    A timer, where Hypercorn has a task that each request cancels, and that begins anew after it.
    """

    def __init__(self) -> None:
        self._timers: dict[TCPServer, asyncio.TimerHandle] = {}
        self._is_over = False

    def add(self, connection: TCPServer) -> None:
        """It waits from now on."""
        self.discard(connection)
        if self._is_over:
            connection.close_idle()
        else:
            within_s = connection.config.keep_alive_timeout
            self._timers[connection] = connection.loop.call_later(within_s, connection.close_idle)

    def discard(self, connection: TCPServer) -> None:
        """It has a request, or has gone."""
        if (timer := self._timers.pop(connection, None)) is not None:
            timer.cancel()

    def end(self) -> None:
        """Closes all of them, and from now on each that gets idle."""
        self._is_over = True
        for connection in list(self._timers):
            self.add(connection)


class IdleTime:
    """The time that one connection is idle, as Hypercorn begins and ends it."""

    def __init__(self, connection: TCPServer) -> None:
        self._connection, self._idle = connection, connection.config.idle

    async def restart(self, *_: object) -> None:
        self._idle.add(self._connection)

    async def stop(self) -> None:
        self._idle.discard(self._connection)


class TCPServer(HypercornTCPServer):
    """One connection.

    Hypercorn's own keeps the socket of a client that closed between two requests, and three tasks, until
    the keep-alive time is over: a producer that opens a connection for each of 300 requests a second
    would hold 22,500 of them.
    """

    config: Config

    def __init__(self, app: Any, *others: Any) -> None:
        super().__init__(Offering(app, self), *others)  # type: ignore[arg-type]  # it hands on what it is given
        self._client_is_gone = self._is_handed_over = False
        self.idle_task = IdleTime(self)  # type: ignore[assignment]  # its two methods are all that is called
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def hand_over(self, speaker: Speaker) -> bool:
        """Has the speaker's wire in our place on the socket from now on; False where the client has gone."""
        transport: Any = self.writer.transport
        if self._client_is_gone or self.reader.at_eof() or transport.is_closing():
            return False
        self._flush()
        self._is_handed_over = True
        self.writer.__class__ = RelievedWriter
        wire = Wire(speaker, transport, self.config.wires)
        transport.set_protocol(wire)
        if not transport.is_reading():
            transport.resume_reading()
        wire.begin()
        return True

    def close_idle(self) -> None:
        """No request has come for long enough."""
        self._task_group.spawn(self._initiate_server_close)

    async def protocol_send(self, event: Event) -> None:
        """What Hypercorn's protocol has for the client, or for us."""
        if self._is_handed_over:
            # The response ends for Hypercorn here, and its connection with it.
            if not isinstance(event, RawData):
                self.reader.feed_eof()
        elif isinstance(event, RawData):
            await self._send(event.data)
        elif not (self._client_is_gone and isinstance(event, Updated)):
            # A response that ends as its client goes would have its connection wait for the next request.
            self._flush()
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        """Has it leave together with what else there is before the loop goes on: head, body and end are one packet.

        Waits while the client does not take what has left.
        """
        if not data:
            return
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes + self.writer.transport.get_write_buffer_size() > WRITE_BYTES:
            self._flush()
            try:
                async with self.send_lock:
                    await self.writer.drain()
            except ConnectionError:
                await self.protocol.handle(Closed())

    def _flush(self) -> None:
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if unsent and not self.writer.transport.is_closing():
            self.writer.write(b"".join(unsent))

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            self._client_is_gone = True
            await self.idle_task.stop()

    async def _close(self) -> None:
        if not self._is_handed_over:
            self._flush()
            await super()._close()


class Offering:
    """The app, told with each request whether the connection can hand its socket over."""

    def __init__(self, app: Any, connection: TCPServer) -> None:
        self._app, self._connection = app, connection

    async def __call__(self, scope: Any, *others: Any) -> None:
        # HTTP/2 has many responses on one socket, and HTTP/1.0 no chunks.
        if scope["type"] == "http" and scope["http_version"] == "1.1":
            scope["extensions"][EXTENSION] = {TAKE_OVER: self._connection.hand_over}
        await self._app(scope, *others)


class RelievedWriter(asyncio.StreamWriter):
    """A writer whose transport is somebody else's now: Python 3.11.5 closes it when the writer is collected."""

    def __del__(self) -> None:
        pass


def install() -> None:
    """Has Hypercorn serve with these; safe to call twice."""
    hypercorn_tcp_server.TaskGroup = TaskGroup  # type: ignore[attr-defined]  # it is imported there, and ours
    # `worker_serve` looks the name up there for each connection.
    hypercorn_run.TCPServer = TCPServer  # type: ignore[attr-defined,assignment]  # it is imported there, and ours
