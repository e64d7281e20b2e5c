"""One open stream: backlog from the log, then live, with heartbeats, until somebody ends it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, Span

from services.edge import control, frames, written
from services.edge.backlog import Backlog
from services.edge.frames import CloseReason, EventFrame, ResetReason
from services.edge.grants import connection_tags
from services.edge.handover import Handover, Offer
from services.edge.view import Start, View
from shared.folds.inbox import MARKED, SUBSCRIPTION
from shared.model.control import control_tag
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.tags import inbox_tag
from shared.web.stream import Piece

if TYPE_CHECKING:
    from services.edge.edge import Edge
    from services.edge.selection import Selection
    from services.edge.sessions import Session
    from shared.model.entry import Entry, Page

log = logging.getLogger(__name__)

# Ours, about the inbox: what is told is what follows from them.
HIDDEN_TYPES = frozenset({MARKED, SUBSCRIPTION})
# From the answer to its first byte, on a loop that a returning crowd keeps busy.
START_WITHIN_S = 30.0


class Connection:
    """What one client receives, as a speaker: nothing in here waits."""

    __slots__ = (
        "_announced", "_as_of", "_backlog", "_beat_due", "_beat_timer", "_came_early", "_choosing", "_closing",
        "_edge", "_expiry_due", "_greeting", "_handover", "_has_ended", "_heartbeat_s", "_is_bound", "_loop", "_news",
        "_opened_at_head", "_said_all", "_selection", "_session_timer", "_since", "_trimmed_to", "_view", "_wake",
        "_wrote_at", "address", "id", "opened_at", "session", "span", "tags",
    )  # fmt: skip

    def __init__(
        self, edge: Edge, session: Session, selection: Selection, address: str, view: View | None = None
    ) -> None:
        self.id = new_connection_id()
        self.session, self.address = session, address
        self.opened_at = datetime.now(UTC)
        self.span: Span = INVALID_SPAN
        """Of the request, for as long as the stream is open; ended with it."""
        self._edge, self._selection, self._view = edge, selection, view or View(selection)
        self.tags = self.tags_as_of(0, {})
        self._heartbeat_s = selection.heartbeat_s or edge.settings.heartbeat_s
        self._loop = asyncio.get_running_loop()
        self._wake = _nobody_writes_yet
        self._handover: Handover[EventFrame] | None = None
        self._backlog: Backlog | None = None
        self._greeting: bytes | None = None
        self._closing: CloseReason | None = None
        self._news: bytes | None = None
        self._choosing: int | None = None
        self._trimmed_to: int | None = None
        self._beat_due = self._has_ended = self._expiry_due = self._came_early = self._said_all = False
        self._announced = self._opened_at_head = 0
        self._wrote_at = self._loop.time()
        self._is_bound = False
        self._beat_timer: asyncio.TimerHandle | None = None
        notice_s = session.seconds_left() - edge.settings.session_expiring_s
        self._session_timer = self.after(max(0.0, notice_s), self._announce_expiry)

    def begin(self, start: Start, head: int) -> None:
        """Says where the stream starts, and where the log ended then; call once, after joining the fan-out."""
        settings, after = self._edge.settings, start.after
        self._announced, self._opened_at_head = after, head
        # What came before we knew where to begin was let go; the log has it.
        behind = after < head or self._came_early
        self._handover = Handover(after, settings.buffer_max_frames, settings.buffer_max_bytes, behind=behind)
        self._handover.bound(self._is_bound)
        cursor = self._edge.cursor(after)
        # With the head the client knows when it has caught up; without a backlog it has already.
        about: dict[str, object] = {
            "connection": self.id,
            "user": self.session.sub,
            "heartbeat_s": self._heartbeat_s,
            "head": self._edge.cursor(max(head, after)),
        }
        greeting = frames.retry(settings.retry_ms) + frames.connected(cursor, about)
        if start.reset is not None:
            greeting += frames.reset(start.reset, cursor)
        self._greeting = greeting + start.opening
        self._view.begin(self)
        if self._closing is not None:
            self._leave_soon()
        # A client that goes between our joining and the first byte: nobody will take anything.
        self._beat_timer = self.after(START_WITHIN_S, self.end)

    # What the fan-out calls.

    def deliver(self, entry: Entry, frame: EventFrame) -> None:
        """Takes one live entry."""
        if self._handover is None:
            self._came_early = True
            return
        self._heed(entry, is_live=True)
        if self._closing is not None or not self._shows(entry):
            return
        offer = self._handover.offer(entry.position, self._view.framed(entry, frame))
        if offer is Offer.KEPT:
            self._wake()
        elif offer is Offer.OVERFLOW:
            self._edge.traces.failed(entry, self, CloseReason.SLOW_READER.word)
            self.close(CloseReason.SLOW_READER)

    def progressed(self, position: int) -> None:
        """Nothing at or below is missing but what waits here."""
        if self._handover is not None:
            self._handover.passed(position)

    def bound(self) -> None:
        """The feed has all our tags."""
        if self._choosing is not None:
            return
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

    @property
    def follows_topics(self) -> bool:
        """Whether the user's subscriptions count: who names topics has chosen."""
        return self._selection.topics is None

    def tags_as_of(self, position: int, topics: Mapping[str, int]) -> frozenset[str]:
        """The tags of the connection where its user, as of a position, follows these, each from a position on."""
        self._as_of, self._since = position, topics
        granted = connection_tags(self.session.own_tags, self.session.grants, self._selection.topics)
        own = {f"connection:{self.id}", control_tag(self.session.sub), inbox_tag(self.session.sub)}
        return granted | own | frozenset(topics)

    @property
    def is_choosing(self) -> bool:
        """Whether its tags are about to change."""
        return self._choosing is not None and not self.is_closing

    def _choose(self, position: int) -> None:
        """The user follows other topics since this position: nothing is live until the tags are of a later one.

        Then the log is read from there, with the new tags: of a topic, everything after it was followed.
        """
        is_first, self._choosing = self._choosing is None, position
        self.interrupted()
        if self._backlog is not None and self._handover is not None:
            # It reads with the tags as they were. What it has shown was sent, and is not read again.
            self._backlog.stop()
            self._backlog = None
            self._handover.sent = max(self._handover.sent, self._announced)
        if is_first:
            self._edge.topics_changed(self)

    def chosen(self) -> None:
        """The feed has the tags of `tags_as_of`; they may be outdated already."""
        if self._choosing is not None and self._choosing <= self._as_of:
            self._choosing = None
            self.bound()

    def tell(self, frame: bytes) -> None:
        """Says something between the events, soon; what was not said yet is outdated."""
        if self._view.takes_news:
            self._news = frame
            self._wake()

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

    # What the writer calls: see `shared.web.stream.Speaker`.

    def opened(self, wake: Callable[[], None]) -> None:
        """The response has begun."""
        if not self._has_ended:
            self._wake = wake
            self._beat_after(self._heartbeat_s * random.uniform(0.5, 1))

    def take(self, max_bytes: int) -> Sequence[Piece]:
        """What is due, up to about `max_bytes`."""
        if self._said_all or self._has_ended or self._handover is None:
            return ()
        if self._greeting is not None:
            due, self._greeting = self._own(self._greeting), None
        elif self._trimmed_to is not None and self._closing is None:
            due = self._own(frames.reset(ResetReason.TRIMMED, self._edge.cursor(self._trimmed_to)))
            self._trimmed_to = None
        elif self._closing is not None:
            self._said_all = True
            due = self._own(frames.closing(self._closing, self._edge.reconnect_delay_ms(self._closing)))
        else:
            due = self._live(self._handover, max_bytes) or self._replay(self._handover, max_bytes) or self._notice()
        if due:
            self._wrote_at = self._loop.time()
        if self._greeting is None and self._view.is_complete(self._handover.sent):
            self._said_all = True
            self._leave_soon()
            self._wake()
        return due

    @property
    def is_over(self) -> bool:
        """Whether the last frame was taken, or the connection has ended without one."""
        return self._said_all or self._has_ended

    def end(self) -> None:
        """Gives back all that the connection holds; safe to call twice."""
        self._has_ended = True
        self.span.set_attribute("carillon.closed_because", self.closed_because)
        self.span.end()
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._session_timer.cancel()
        self._view.end()
        if self._backlog is not None:
            self._backlog.stop()
        self._edge.forget(self)
        self._wake = _nobody_writes_yet

    @property
    def has_begun(self) -> bool:
        """Whether the stream was ever opened for the client."""
        return self._handover is not None

    @property
    def closed_because(self) -> str:
        """Why the stream ended: `gone` where the client went by itself, `ended` where there was no more to say."""
        if self._closing is not None:
            return self._closing.word
        return "ended" if self._said_all else "gone"

    @property
    def position(self) -> int | None:
        """Up to where the client was handed all that concerns it; None before the stream has begun."""
        return None if self._handover is None else self._handover.progress

    @property
    def state(self) -> str:
        """`live`, `catching-up` or `closing`."""
        if self._closing is not None:
            return "closing"
        return "catching-up" if self._handover is None or self._handover.behind else "live"

    @property
    def is_closing(self) -> bool:
        """Whether the stream has been told to end, or has."""
        return self._closing is not None or self._has_ended

    def noticed(self) -> None:
        """The view has something to say."""
        self._wake()

    def _leave_soon(self) -> None:
        # Not at once: whoever closes us may be walking over the connections.
        self._loop.call_soon(self._edge.leave, self)

    def _heed(self, entry: Entry, *, is_live: bool) -> None:
        """What an entry means for the stream itself: other counts to tell, other topics to follow."""
        is_hidden = self._is_hidden(entry)
        if self._view.takes_news and (is_hidden or entry.type == NOTIFICATION):
            self._edge.inbox_moved(self, entry, is_live=is_live)
        if is_hidden and entry.type == SUBSCRIPTION and self.follows_topics and entry.position > self._as_of:
            self._choose(entry.position)

    def _is_hidden(self, entry: Entry) -> bool:
        return entry.type in HIDDEN_TYPES and inbox_tag(self.session.sub) in entry.audience

    def _shows(self, entry: Entry) -> bool:
        """Whether the client gets to see the entry. Obeys it first where it is a control event."""
        if entry.type in control.TYPES and control_tag(self.session.sub) in entry.audience:
            if reason := control.close_reason(entry, self.session, self._opened_at_head):
                self.close(reason)
            return False
        if self._is_hidden(entry):
            return False
        if self._view.shows(entry):
            return True
        self._edge.traces.skipped(entry, self, "filtered")
        return False

    def _is_of_its_time(self, entry: Entry) -> bool:
        """Not where all that shows it is a topic which the user followed only later."""
        return not self._since or any(
            tag in self.tags and entry.position > self._since.get(tag, 0) for tag in entry.audience
        )

    def _live(self, handover: Handover[EventFrame], max_bytes: int) -> Sequence[Piece]:
        if (due := handover.take(max_bytes)) and (traced := written.live(due)):
            self._edge.traces.delivered(traced, self, replayed=False)
        return due

    def _replay(self, handover: Handover[EventFrame], max_bytes: int) -> Sequence[Piece]:
        """What the log has for a stream that is behind."""
        if self._backlog is None:
            if self._choosing is not None or not handover.must_read:
                return ()
            self._backlog = Backlog(self.id, handover, self._read, self._replayed, self._woken)
        due = self._backlog.take(max_bytes)
        if traced := written.replayed(due):
            self._edge.traces.delivered(traced, self, replayed=True)
        if self._backlog is not None and self._backlog.is_over:
            self._backlog = None
            # Where its end concerned others, the client is told at once that it has caught up.
            self._beat_due |= handover.progress > self._announced
        return due or self._live(handover, max_bytes)

    async def _read(self, after: int) -> Page:
        page = await self._edge.read(after, self.tags)
        if after < page.head.floor:
            # Retention has overtaken a client that takes its backlog slowly: what is missing must not be silent.
            self._trimmed_to = page.head.floor
        return page

    def _replayed(self, entry: Entry) -> EventFrame | None:
        self._heed(entry, is_live=False)
        if self._closing is not None or not self._shows(entry) or not self._is_of_its_time(entry):
            return None
        self._announced = entry.position
        return self._view.framed(entry, self._edge.encode(entry))

    def _woken(self) -> None:
        self._wake()

    def _notice(self) -> Sequence[Piece]:
        """What a stream says of itself."""
        if self._news is not None:
            news, self._news = self._news, None
            return self._own(news)
        if self._expiry_due:
            self._expiry_due = False
            return self._own(frames.session_expiring(int(self.session.seconds_left())))
        if text := self._view.notice():
            return self._own(text)
        if self._beat_due and self._handover is not None:
            self._beat_due = False
            return (self._heartbeat(self._handover),)
        return ()

    def _heartbeat(self, handover: Handover[EventFrame]) -> Piece:
        """A comment, or where the log went on with what concerned others, the cursor's new place."""
        position, beat = handover.progress, frames.HEARTBEAT
        if position > self._announced:
            self._announced = position
            beat = Piece(frames.progress(self._edge.cursor(position)))
        written.heartbeat(len(beat), is_progress=beat is not frames.HEARTBEAT)
        return beat

    def _own(self, text: bytes) -> Sequence[Piece]:
        """Frames of the stream itself."""
        written.others(text.count(b"\n\n"), len(text))
        return (Piece(text),)

    # Timers.

    def _announce_expiry(self) -> None:
        self._expiry_due = True
        self._session_timer = self.after(self.session.seconds_left(), self._expire)
        self._wake()

    def _expire(self) -> None:
        self.close(CloseReason.SESSION_EXPIRED)

    def _beat(self) -> None:
        quiet_s = self._loop.time() - self._wrote_at
        if quiet_s >= self._heartbeat_s:
            self._beat_due, quiet_s = True, 0.0
            self._wake()
        self._beat_after(self._heartbeat_s - quiet_s)

    def _beat_after(self, seconds: float) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._beat_timer = self.after(seconds, self._beat)

    def after(self, seconds: float, do: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls it then, on the loop."""
        # In a context of its own: that of the request would keep all of the request for as long.
        return self._loop.call_later(seconds, do, context=contextvars.Context())


def _nobody_writes_yet() -> None:
    """Whoever begins to write takes what is due then."""


def new_connection_id() -> str:
    """Names one open response."""
    return secrets.token_urlsafe(9)
