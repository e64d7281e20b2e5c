"""What Hypercorn 0.18 leaves to whoever speaks HTTP/2 to it, put right.

Two things. A client that closes one stream's window, or opens it a byte at a time, has that stream's
buffer grow for as long as there is something to send: the application may write on whenever something
could not be sent. And bytes that are no lawful request end in a traceback or two, for each connection.
"""

from __future__ import annotations

import logging

from h2.exceptions import ProtocolError
from hypercorn.asyncio import tcp_server
from hypercorn.events import Closed, Event
from hypercorn.protocol import ProtocolWrapper, h2
from hypercorn.protocol.http_stream import HTTPStream
from hyperframe.exceptions import HyperframeError

# Settings that are no base64 or no settings, a method that is no ASCII, data for a stream already answered.
_MALFORMED = (ValueError, KeyError, ProtocolError, HyperframeError)

_log = logging.getLogger(__name__)


class BoundedStreamBuffer(h2.StreamBuffer):
    """Lets the writer go on once little is left to send, not once little was sent."""

    async def pop(self, max_length: int) -> bytes:
        """Up to `max_length` bytes, which are then sent."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < h2.BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class ClosingProtocol(ProtocolWrapper):
    """Closes the connection of a client that breaks the protocol. Nothing of the application runs in here."""

    async def handle(self, event: Event) -> None:
        """Takes what the client sent."""
        try:
            await super().handle(event)
        except _MALFORMED as malformed:
            _log.info("a client broke the protocol: %r", malformed)
            await self.send(Closed())


def repair_hypercorn() -> None:
    """Has Hypercorn use them; safe to call twice."""
    h2.StreamBuffer = BoundedStreamBuffer  # type: ignore[misc]  # there is no other way in
    # Of a stream whose request was never lawful they are asked for as the stream closes.
    HTTPStream.scope = None  # type: ignore[assignment]  # nothing looks into it
    HTTPStream.app_put = None  # type: ignore[assignment]  # it asks whether there is one
    HTTPStream.start_time = 0.0
    tcp_server.ProtocolWrapper = ClosingProtocol  # type: ignore[attr-defined]
