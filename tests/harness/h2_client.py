"""An HTTP/2 client that does just what it is told: reads, leaves unread, or resets one stream of its connection.

Others hide that: httpx neither resets a stream that is left nor leaves one unread for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from tests.eventually import eventually

WITHIN_S = 60.0
_EVENT_ID = re.compile(rb'"specversion":"1.0","id":"([^"]+)"')


class H2Stream:
    """One request and what came of it so far."""

    def __init__(self, client: H2Client, id_: int, *, unread: bool) -> None:
        self._client, self.id = client, id_
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.has_ended = False
        """Whether the server ended it in order."""
        self.reset_by_server: int | None = None
        self._owed = 0
        self._is_unread = unread

    def take(self, data: bytes, flow_controlled_bytes: int) -> None:
        """Called by the client with what arrived."""
        self.body += data
        self._owed += flow_controlled_bytes
        if not self._is_unread:
            self.read()

    def read(self) -> None:
        """Lets the server send more, from now on whenever something has come."""
        self._is_unread = False
        if self._owed and not self.has_ended:
            self._client.connection.acknowledge_received_data(self._owed, self.id)
        self._owed = 0
        self._client.flush()

    def reset(self) -> None:
        """Leaves the stream, as a browser does when its tab is closed."""
        self._client.connection.reset_stream(self.id, ErrorCodes.CANCEL)
        self._client.flush()

    async def until(self, text: str) -> None:
        """Returns once this has come."""
        await eventually(lambda: text.encode() in self.body, WITHIN_S)

    async def ended(self) -> None:
        """Returns once the server has ended the stream in order."""
        await eventually(lambda: self.has_ended or self._client.is_closed, WITHIN_S)
        assert self.has_ended, "the connection went before the stream had ended"

    @property
    def event_ids(self) -> list[str]:
        """Of the events that came whole, or nearly."""
        return [found.decode() for found in _EVENT_ID.findall(self.body)]


class H2Client:
    """One connection, by prior knowledge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self.connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._reader, self._writer, self._authority = reader, writer, authority
        self._streams: dict[int, H2Stream] = {}
        self.is_closed = False
        self.goaway: int | None = None
        self.connection.initiate_connection()
        # All of it: only a stream's own window shall hold a stream back.
        self.connection.increment_flow_control_window(2**30)

    async def get(self, path: str, headers: Mapping[str, str], *, unread: bool = False) -> H2Stream:
        """A request whose response has begun.

        Args:
            unread: nothing beyond the first window is asked for, until `read` is called.
        """
        stream = H2Stream(self, self.connection.get_next_available_stream_id(), unread=unread)
        self._streams[stream.id] = stream
        pseudo = {":method": "GET", ":path": path, ":scheme": "http", ":authority": self._authority}
        lower = {name.lower(): value for name, value in headers.items()}
        self.connection.send_headers(stream.id, [*pseudo.items(), *lower.items()], end_stream=True)
        self.flush()
        await eventually(lambda: stream.headers, WITHIN_S)
        return stream

    async def run(self) -> None:
        """Takes what arrives, until the connection ends."""
        self.flush()
        try:
            while data := await self._reader.read(65536):
                for event in self.connection.receive_data(data):
                    self._take(event)
                self.flush()
        except ConnectionError:
            pass
        finally:
            self.is_closed = True

    def flush(self) -> None:
        """Sends what was decided."""
        if not self._writer.is_closing():
            self._writer.write(self.connection.data_to_send())

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self._streams[event.stream_id].headers = {str(name): str(value) for name, value in event.headers}
            case h2.events.DataReceived():
                self._streams[event.stream_id].take(event.data, event.flow_controlled_length)
            case h2.events.StreamEnded():
                self._streams[event.stream_id].has_ended = True
            case h2.events.StreamReset():
                self._streams[event.stream_id].reset_by_server = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code


@asynccontextmanager
async def h2_client(port: int) -> AsyncIterator[H2Client]:
    """Connected to a loopback port without TLS; dropped at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = H2Client(reader, writer, f"127.0.0.1:{port}")
    running = asyncio.create_task(client.run(), name="h2-client")
    try:
        yield client
        if running.done():
            running.result()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
