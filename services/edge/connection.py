"""One open stream: backlog from the log, then live, with heartbeats, until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind
from quart.wrappers.response import ResponseBody

from services.edge import control, frames, written
from services.edge.compression import compressed
from services.edge.control import control_tag
from services.edge.frames import CloseReason, ResetReason
from services.edge.grants import connection_tags
from services.edge.handover import Handover, Offer
from shared.model.errors import LogUnavailable
from shared.telemetry import tracing

if TYPE_CHECKING:
    from services.edge.edge import Edge
    from services.edge.selection import Selection
    from services.edge.sessions import Session
    from shared.model.entry import Entry

log = logging.getLogger(__name__)

# One write to the socket carries at most about this much, so that a long backlog yields to others.
WRITE_BYTES = 64 * 1024
# How soon a log that did not answer is asked again; jittered over the connections that wait.
READ_AGAIN_S = 1.0
# From the answer to its first byte, on a loop that a returning crowd keeps busy.
START_WITHIN_S = 30.0


class Connection:
    """What one client receives. Its callbacks never block; `stream` does all the waiting."""

    def __init__(self, edge: Edge, session: Session, selection: Selection, address: str) -> None:
        self.id = new_connection_id()
        self.session, self.address = session, address
        self.opened_at = datetime.now(UTC)
        granted = connection_tags(session.own_tags, session.grants, selection.topics)
        self.tags = granted | {f"connection:{self.id}", control_tag(session.sub)}
        self._edge, self._selection = edge, selection
        self._heartbeat_s = selection.heartbeat_s or edge.settings.heartbeat_s
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._handover: Handover | None = None
        self._greeting = b""
        self._closing: CloseReason | None = None
        self._beat_due = self._has_ended = self._expiry_due = self._came_early = False
        self._opened_at_head = 0
        self._wrote_at = self._loop.time()
        self._is_bound = False
        self._beat_timer: asyncio.TimerHandle | None = None
        left_s, notice_s = session.seconds_left(), edge.settings.session_expiring_s
        self._expiry_timer = self._loop.call_later(left_s, self.close, CloseReason.SESSION_EXPIRED)
        self._notice_timer = self._loop.call_later(max(0.0, left_s - notice_s), self._announce_expiry)

    def begin(self, after: int, reset: ResetReason | None, head: int) -> None:
        """Says where the stream starts, and where the log ended then; call once, after joining the fan-out."""
        settings = self._edge.settings
        self._announced, self._opened_at_head = after, head
        # What came before we knew where to begin was let go; the log has it.
        behind = after < head or self._came_early
        self._handover = Handover(after, settings.buffer_max_frames, settings.buffer_max_bytes, behind=behind)
        self._handover.bound(self._is_bound)
        cursor = self._edge.cursor(after)
        about: dict[str, object] = {"connection": self.id, "user": self.session.sub, "heartbeat_s": self._heartbeat_s}
        self._greeting = frames.retry(settings.retry_ms) + frames.connected(cursor, about)
        if reset is not None:
            self._greeting += frames.reset(reset, cursor)
        if self._closing is not None:
            self._leave_soon()
        # A client that goes between our joining and the first byte: nobody will iterate the body.
        self._beat_timer = self._loop.call_later(START_WITHIN_S, self.end)

    # What the fan-out calls.

    def deliver(self, entry: Entry, frame: bytes) -> None:
        """Takes one live entry."""
        if self._handover is None:
            self._came_early = True
            return
        if self._closing is not None or not self._shows(entry):
            return
        frame = frames.unnamed(frame) if self._selection.unnamed else frame
        offer = self._handover.offer(entry.position, frame, entry)
        if offer is Offer.KEPT:
            if tracing.is_traced(entry.traceparent):
                self._trace(entry, replayed=False)
            self._wake()
        elif offer is Offer.OVERFLOW:
            self.close(CloseReason.SLOW_READER)

    def progressed(self, position: int) -> None:
        """Nothing at or below is missing but what waits here."""
        if self._handover is not None:
            self._handover.passed(position)

    def bound(self) -> None:
        """The feed has all our tags."""
        self._is_bound = True
        if self._handover is not None:
            self._handover.bound(True)
            self._wake()

    def interrupted(self) -> None:
        """The feed is lost; the log tells what it would have brought."""
        self._is_bound = False
        if self._handover is None:
            self._came_early = True
        else:
            self._handover.bound(False)

    def close(self, reason: CloseReason) -> None:
        """Ends the stream, with a last frame that says why. The first reason counts.

        Whether and when the client reads that frame is its own affair: nothing else waits for it.
        """
        if self._closing is None:
            self._closing = reason
            # A drain closes thousands, and tells of itself; a slow reader is somebody's incident.
            level = logging.WARNING if reason is CloseReason.SLOW_READER else logging.DEBUG
            log.log(level, "closing stream: %s", reason.word, extra={"connection": self.id, "user": self.session.sub})
            self._wake()
            if self._handover is not None:
                self._leave_soon()

    # The stream itself.

    async def stream(self) -> AsyncIterator[bytes]:
        """The body of the response, one write at a time."""
        assert self._handover is not None
        if self._has_ended:
            return
        self._beat_after(self._heartbeat_s * random.uniform(0.5, 1))
        yield self._greeting
        written.others(self._greeting.count(b"\n\n"), len(self._greeting))
        while self._closing is None:
            chunk = self._handover.take(WRITE_BYTES)
            if chunk:
                taken = self._handover.taken
                self._wrote_at = self._loop.time()
                yield chunk
                written.live(taken, len(chunk))
            elif self._expiry_due:
                self._expiry_due = False
                yield (chunk := frames.session_expiring(int(self.session.seconds_left())))
                written.others(1, len(chunk))
            elif self._beat_due:
                self._beat_due = False
                yield (chunk := self._heartbeat(self._handover))
                written.heartbeat(len(chunk), is_progress=chunk is not frames.HEARTBEAT)
            elif self._handover.must_read:
                # After the heartbeat, which a log that does not answer must not keep back.
                async for chunk in self._backlog(self._handover):
                    self._wrote_at = self._loop.time()
                    yield chunk
            else:
                await self._woken()
        yield (chunk := frames.closing(self._closing, self._edge.reconnect_delay_ms(self._closing)))
        written.others(1, len(chunk))

    def end(self) -> None:
        """Gives back all that the connection holds; safe to call twice."""
        self._has_ended = True
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._expiry_timer.cancel()
        self._notice_timer.cancel()
        self._edge.forget(self)

    @property
    def has_begun(self) -> bool:
        """Whether the stream was ever opened for the client."""
        return self._handover is not None

    @property
    def closed_because(self) -> str:
        """Why the stream ended; `gone` where the client went by itself."""
        return self._closing.word if self._closing is not None else "gone"

    @property
    def state(self) -> str:
        """`live`, `catching-up` or `closing`."""
        if self._closing is not None:
            return "closing"
        return "catching-up" if self._handover is None or self._handover.behind else "live"

    @property
    def is_closing(self) -> bool:
        """Whether the stream has been told to end."""
        return self._closing is not None

    def _leave_soon(self) -> None:
        # Not at once: whoever closes us may be walking over the connections.
        self._loop.call_soon(self._edge.leave, self)

    def _shows(self, entry: Entry) -> bool:
        """Whether the client gets to see the entry. Obeys it first where it is a control event."""
        if entry.type in control.TYPES and control_tag(self.session.sub) in entry.audience:
            if reason := control.close_reason(entry, self.session, self._opened_at_head):
                self.close(reason)
            return False
        return self._selection.types is None or self._selection.types.wants(entry.type)

    def _heartbeat(self, handover: Handover) -> bytes:
        """A comment, or where the log went on with what concerned others, the cursor's new place."""
        position = handover.progress
        if position <= self._announced:
            return frames.HEARTBEAT
        self._announced = position
        return frames.progress(self._edge.cursor(position))

    async def _backlog(self, handover: Handover) -> AsyncIterator[bytes]:
        """One page of the log as chunks."""
        after = handover.begin_read()
        try:
            page = await self._edge.read(after, self.tags)
        except LogUnavailable as trouble:
            log.info("backlog waits: %s", trouble, extra={"connection": self.id})
            await self._woken(at_most_s=READ_AGAIN_S * random.uniform(0.5, 1.5))
            return
        if self._closing is not None:
            return
        due: list[tuple[Entry, bytes]] = []
        size = 0
        for entry in page.entries:
            if not self._shows(entry):
                continue
            if tracing.is_traced(entry.traceparent):
                self._trace(entry, replayed=True)
            frame = self._edge.encode(entry)
            due.append((entry, frames.unnamed(frame) if self._selection.unnamed else frame))
            size += len(due[-1][1])
            if size >= WRITE_BYTES:
                yield b"".join(frame for _, frame in due)
                written.replayed([entry for entry, _ in due], size)
                due, size = [], 0
        if due:
            yield b"".join(frame for _, frame in due)
            written.replayed([entry for entry, _ in due], size)
        handover.end_read(page.through, at_head=page.at_head)

    async def _woken(self, at_most_s: float | None = None) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(at_most_s, self._wake) if at_most_s is not None else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _announce_expiry(self) -> None:
        self._expiry_due = True
        self._wake()

    def _beat(self) -> None:
        now = self._loop.time()
        if now - self._wrote_at >= self._heartbeat_s:
            self._beat_due = True
            self._wrote_at = now
            self._wake()
        self._beat_after(self._wrote_at + self._heartbeat_s - now)

    def _beat_after(self, seconds: float) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._beat_timer = self._loop.call_later(seconds, self._beat)

    def _trace(self, entry: Entry, *, replayed: bool) -> None:
        assert entry.traceparent is not None
        attributes = tracing.about(entry.source, entry.id, entry.type) | {
            "messaging.operation.type": "process",
            tracing.POSITION: entry.position,
            "carillon.replayed": replayed,
            "carillon.connection": self.id,
        }
        now_ns = time.time_ns()
        tracing.record("process user.{id}", SpanKind.CONSUMER, entry.traceparent, attributes, now_ns, now_ns)


class EventStreamBody(ResponseBody):
    """A connection as the body of a Quart response: however the response ends, the connection does."""

    def __init__(self, connection: Connection, coding: str | None = None) -> None:
        self._connection = connection
        stream = connection.stream()
        self._stream = stream if coding is None else compressed(stream, coding)

    async def __aenter__(self) -> AsyncIterator[bytes]:
        return self._stream

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._connection.end()


def new_connection_id() -> str:
    """Names one open response."""
    return secrets.token_urlsafe(9)
