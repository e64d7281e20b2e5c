"""The bytes of an event stream. Pure.

Source: WHATWG HTML, section 9.2 "Server-sent events", https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import re
import time
from enum import Enum
from functools import cached_property
from typing import Any, Self

from pydantic_core import to_json

from shared.model.entry import Entry
from shared.telemetry import tracing
from shared.web.stream import Piece

HEARTBEAT = Piece(b":\n\n")

_LINE_END = re.compile(rb"\r\n|\r|\n")


class CloseReason(Enum):
    """Why the server ends a stream, and whether the client should come back by itself."""

    DRAIN = "drain", True
    SLOW_READER = "slow-reader", True
    SESSION_EXPIRED = "session-expired", False
    SESSION_REVOKED = "session-revoked", False
    SESSION_REPLACED = "session-replaced", True
    DISCONNECTED = "disconnected", True
    TOO_MANY = "newer-connection", False
    LOG_REPLACED = "log-replaced", True
    NOT_BEGUN = "not-begun", False

    def __init__(self, word: str, reconnect: bool) -> None:
        self.word, self.reconnect = word, reconnect


class ResetReason(Enum):
    """Why a stream cannot go on from the cursor that the client holds."""

    UNREADABLE = "unreadable-cursor"
    OTHER_LOG = "other-log"
    TRIMMED = "history-trimmed"
    AHEAD = "cursor-ahead"


class EventFrame(Piece):
    """The frame of an entry, the same for every connection that is sent it."""

    appended_at: float
    """When the entry came into the log; seconds since the epoch."""
    entry: Entry | None
    """Where its trace is recorded: for the spans of its deliveries."""
    made_ns: int
    """When the edge had it; nanoseconds since the epoch. 0 where nobody asks."""

    @classmethod
    def of(cls, entry: Entry, cursor: str) -> Self:
        """As named event."""
        text, appended_at = frame(entry.type, entry.event, cursor), entry.appended_at.timestamp()
        if tracing.is_traced(entry.traceparent):
            return cls._of(text, appended_at, entry, time.time_ns())
        return cls._of(text, appended_at, None, 0)

    @cached_property
    def unnamed(self) -> Self:
        """For clients that listen to `message` only."""
        return self._of(unnamed(self), self.appended_at, self.entry, self.made_ns)

    def followed_by(self, text: bytes) -> Self:
        """With frames that are sent together with it."""
        return self._of(self + text, self.appended_at, self.entry, self.made_ns)

    @classmethod
    def _of(cls, text: bytes, appended_at: float, entry: Entry | None, made_ns: int) -> Self:
        made = cls(text)
        made.appended_at, made.entry, made.made_ns = appended_at, entry, made_ns
        return made


def frame(event: str, data: bytes, cursor: str | None = None) -> bytes:
    """One frame: `id` where a cursor is given, `event`, and `data` on as many lines as it has.

    `event` and `cursor` hold no line ends and no NUL; the boundary has refused them.
    """
    head = f"id: {cursor}\nevent: {event}\ndata: " if cursor is not None else f"event: {event}\ndata: "
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    return head.encode() + data + b"\n\n"


def unnamed(named: bytes) -> bytes:
    """The same frame without its `event` line, so that a client's `onmessage` gets it."""
    after_id = named.index(b"\n") + 1
    return named[:after_id] + named[named.index(b"\n", after_id) + 1 :]


def progress(cursor: str) -> bytes:
    """Moves the client's cursor and dispatches nothing: what lies before concerned others."""
    return f"id: {cursor}\n\n".encode()


def session_expiring(seconds_left: int) -> bytes:
    """Announces the end of the session, in time to renew it."""
    return frame("session-expiring", _json({"expires_in": seconds_left}))


def retry(delay_ms: int) -> bytes:
    """How long the client shall wait before it reconnects."""
    return b"retry: %d\n\n" % delay_ms


def connected(cursor: str, about: dict[str, object]) -> bytes:
    """The first event of each stream; its id lets a client resume that dropped before any other."""
    return frame("connected", _json(about | {"cursor": cursor}), cursor)


def reset(reason: ResetReason, cursor: str) -> bytes:
    """History is gone: load what you show afresh; the stream goes on after `cursor`."""
    return frame("reset", _json({"reason": reason.value, "cursor": cursor}), cursor)


def snapshot(document: dict[str, Any], cursor: str) -> bytes:
    """A stream's state at this cursor; events above it follow."""
    return frame("snapshot", to_json(document), cursor)


def end(status: str | None, version: int) -> bytes:
    """The stream of the subject has ended, and so does this response."""
    return frame("end", _json({"status": status, "version": version}))


def stale(quiet_s: int) -> bytes:
    """No event of the subject came for so long."""
    return frame("stale", _json({"quiet_s": quiet_s}))


def closing(reason: CloseReason, delay_ms: int) -> bytes:
    """The last frame of a stream that the server ends."""
    about = {"reason": reason.word, "reconnect": reason.reconnect}
    return b"retry: %d\n" % delay_ms + frame("closing", _json(about))


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
