"""A TCP proxy that a test may cut, freeze, or have swallow an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Stands before one server; faults are the network's, so that the server need not be restarted."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._going_on = asyncio.Event()
        self._going_on.set()
        self._forgotten: list[asyncio.Event] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._lose: tuple[bytes, int] = b"", 0
        self.accepts = True
        self.attempts = 0
        self.port = 0

    def cut(self) -> None:
        """Resets all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """From now on nothing passes and nothing is refused, as behind a firewall that lost its table."""
        self._going_on.clear()

    def go_on(self) -> None:
        self._going_on.set()

    def forget(self) -> None:
        """Freezes the connections there are, for good; new ones work."""
        self._going_on.clear()
        self._forgotten.append(self._going_on)
        self._going_on = asyncio.Event()
        self._going_on.set()

    def lose_answer_to(self, word: bytes, times: int = 1) -> None:
        """Requests holding `word` reach the server; the connection breaks before the answer comes back."""
        self._lose = word, times

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        for going_on in [*self._forgotten, self._going_on]:
            going_on.set()
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.accepts:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        ends = {writer, server_writer}
        self._writers |= ends
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, self._going_on, self._asks)),
            asyncio.create_task(self._pump(server_reader, writer, self._going_on, lambda _: True)),
        ]
        # Whichever side ends, or loses its answer, ends the other.
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self._writers -= ends
        for end in ends:
            end.transport.abort()
        await asyncio.wait(pumps)

    def _asks(self, request: bytes) -> bool:
        """Whether the connection survives this request."""
        word, times = self._lose
        if not times or word not in request:
            return True
        self._lose = word, times - 1
        return False

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        going_on: asyncio.Event,
        survives: Callable[[bytes], bool],
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                await going_on.wait()
                writer.write(chunk)
                await writer.drain()
                if not survives(chunk):
                    return


@asynccontextmanager
async def proxy_before(server_port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free loopback port."""
    proxy = Proxy(server_port)
    listener = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()
        await listener.wait_closed()
