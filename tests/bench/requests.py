"""HTTP publishing that costs little: keep-alive connections, one request at a time on each."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import urlsplit

from tests.bench import samples
from tests.bench.measure import Failed

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
ACCEPTED = b"HTTP/1.1 202"
# A bound on what an ingest that stalls can make us open.
MAX_LINES = 400


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> bytes:
        assert self.transport is not None
        self._received = b""
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or self._answered is None or self._answered.done():
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]):
            self._answered.set_result(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(Failed(f"ingest closed a connection: {exc!r}"))


class Requests:
    """Publishes to `POST /v1/events` on an open-loop schedule."""

    def __init__(self, url: str, key: str) -> None:
        self._address = urlsplit(url)
        self._key = key
        self._idle: list[_Line] = []
        self._lines = 0

    async def at_rate(self, rate_per_s: float, audience_of: Mapping[int, str]) -> dict[int, float]:
        """Sends each event when it is due, however long the others take; returns the times when they were due.

        A clock that starts when a late request is sent would hide that it was late.
        """
        began = time.monotonic() + 0.1
        due = {number: began + index / rate_per_s for index, number in enumerate(audience_of)}
        async with asyncio.TaskGroup() as sending:
            for number, at in due.items():
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                sending.create_task(self._publish(number, audience_of[number]))
        return due

    async def as_fast(self, bodies: Iterator[bytes], content_type: str, lines: int, for_s: float) -> tuple[float, int]:
        """Keeps so many lines busy, each sending when it was answered; returns (seconds, how many were accepted)."""
        began = time.monotonic()
        answered = 0

        async def keep_busy() -> None:
            nonlocal answered
            while time.monotonic() < began + for_s:
                await self._post(next(bodies), content_type)
                answered += 1

        async with asyncio.TaskGroup() as sending:
            for _ in range(lines):
                sending.create_task(keep_busy())
        return time.monotonic() - began, answered

    async def latencies(
        self, bodies: Iterator[bytes], content_type: str, rate_per_s: float, for_s: float
    ) -> list[float]:
        """Sends so many requests a second, whatever becomes of them; returns what each took since it was due."""
        began = time.monotonic() + 0.1
        taken: list[float] = []

        async def send(body: bytes, due: float) -> None:
            await self._post(body, content_type)
            taken.append(time.monotonic() - due)

        async with asyncio.TaskGroup() as sending:
            for index in range(int(rate_per_s * for_s)):
                due = began + index / rate_per_s
                body = next(bodies)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                sending.create_task(send(body, due))
        return taken

    async def _publish(self, number: int, audience: str) -> None:
        await self._post(json.dumps(samples.attributes(number, audience)).encode(), STRUCTURED)

    async def _post(self, body: bytes, content_type: str) -> None:
        head = (
            f"POST /v1/events HTTP/1.1\r\nHost: {self._address.netloc}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        line = self._idle.pop() if self._idle else await self._new_line()
        answer = await line.ask(head.encode() + body)
        if not answer.startswith(ACCEPTED):
            raise Failed(f"ingest answered {answer[:300]!r}")
        self._idle.append(line)

    async def _new_line(self) -> _Line:
        self._lines += 1
        if self._lines > MAX_LINES:
            raise Failed(f"{MAX_LINES} requests are waiting for an answer")
        host, port = self._address.netloc.split(":")
        _, line = await asyncio.get_running_loop().create_connection(_Line, host, int(port))
        return line

    def close(self) -> None:
        """Ends the connections."""
        for line in self._idle:
            if line.transport is not None:
                line.transport.abort()
