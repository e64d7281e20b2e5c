"""Hypercorn's connection, with two things of ours: it ends with its client, and it can hand its socket over."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio.tcp_server import TCPServer as HypercornTCPServer
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Event, RawData, Updated

from shared.web.stream import EXTENSION, TAKE_OVER, Speaker
from shared.web.wire import Wire, Wires


class Config(HypercornConfig):
    """Hypercorn's, and the streams whose sockets its server has handed over."""

    def __init__(self) -> None:
        super().__init__()
        self.wires = Wires()


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

    def hand_over(self, speaker: Speaker) -> bool:
        """Has the speaker's wire in our place on the socket from now on; False where the client has gone."""
        transport: Any = self.writer.transport
        if self._client_is_gone or self.reader.at_eof() or transport.is_closing():
            return False
        self._is_handed_over = True
        self.writer.__class__ = RelievedWriter
        wire = Wire(speaker, transport, self.config.wires)
        transport.set_protocol(wire)
        if not transport.is_reading():
            transport.resume_reading()
        wire.begin()
        return True

    async def protocol_send(self, event: Event) -> None:
        """What Hypercorn's protocol has for the client, or for us."""
        if self._is_handed_over:
            # The response ends for Hypercorn here, and its connection with it.
            if not isinstance(event, RawData):
                self.reader.feed_eof()
        elif not (self._client_is_gone and isinstance(event, Updated)):
            # A response that ends as its client goes would have its connection wait for the next request.
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            self._client_is_gone = True
            await self.idle_task.stop()

    async def _close(self) -> None:
        if not self._is_handed_over:
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
    # `worker_serve` looks the name up there for each connection.
    hypercorn_run.TCPServer = TCPServer  # type: ignore[attr-defined,assignment]  # it is imported there, and ours
