"""Streams as the edge writes them, and what every client must make of them.

The bytes are kept beside this module, one file a case; `tests/golden/test_frames.py` compares them
with what the code makes now, and `tests/e2e/test_clients.py` has three independent clients read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.edge import frames
from services.edge.frames import CloseReason, ResetReason

FOLDER = Path(__file__).parent
LONG_LINE_BYTES = 900_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a client dispatches it."""

    type: str
    data: str
    id: str | None
    """As this frame sets it; None where it has none of its own."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One case."""

    write: Callable[[], bytes]
    seen: Sequence[Seen]
    last_id: str
    """What a client sends as `Last-Event-ID` when it comes back."""

    @property
    def types(self) -> list[str]:
        """The names to listen to."""
        return sorted({event.type for event in self.seen})


def golden_bytes(name: str) -> bytes:
    """The bytes of a case as they were written down."""
    return (FOLDER / f"{name}.sse").read_bytes()


def _one(data: str, seen: str | None = None, type_: str = "order.created") -> Stream:
    """A stream of one event, whose data comes out as `seen`, or as it is."""
    event = Seen(type_, data if seen is None else seen, "x.1")
    return Stream(lambda: frames.retry(10) + frames.frame(type_, data.encode(), "x.1"), (event,), "x.1")


def _order(number: int) -> bytes:
    return frames.frame("order.created", b"%d" % number, f"x.{number}")


def _whole_life() -> bytes:
    return (
        frames.retry(10)
        + frames.connected("x.6", {"user": "alice"})
        + frames.reset(ResetReason.TRIMMED, "x.6")
        + _order(7)
        + frames.HEARTBEAT
        + frames.session_expiring(60)
        + frames.closing(CloseReason.DRAIN, 10)
    )


_WHOLE_LIFE = (
    Seen("connected", '{"user":"alice","cursor":"x.6"}', "x.6"),
    Seen("reset", '{"reason":"history-trimmed","cursor":"x.6"}', "x.6"),
    Seen("order.created", "7", "x.7"),
    Seen("session-expiring", '{"expires_in":60}', None),
    Seen("closing", '{"reason":"drain","reconnect":true}', None),
)

STREAMS = {
    "multi-line": _one("one\n two\n\n: four"),
    "lf": _one("one\ntwo\n"),
    "cr": _one("one\rtwo\r", "one\ntwo\n"),
    "crlf": _one("one\r\ntwo\r\n\rfive", "one\ntwo\n\nfive"),
    "nul-escaped": _one(r'{"text":"a\u0000b\nc\rd"}'),
    "bom": _one("\ufeffmark\ufeff", type_="\ufefforder"),
    "four-byte": _one("🔔é\x85\u2028\u2029 \U0010ffff", type_="bell.🔔"),
    "spaces": _one("  two before, one after ", type_=" spaced: type "),
    "empty-data": _one(""),
    "long-line": _one("x🔔" * (LONG_LINE_BYTES // 5) + "end"),
    "unnamed": Stream(
        lambda: frames.retry(10) + frames.unnamed(_order(1)) + frames.unnamed(_order(2)),
        (Seen("message", "1", "x.1"), Seen("message", "2", "x.2")),
        "x.2",
    ),
    "ids-only": Stream(
        lambda: frames.retry(10) + _order(1) + frames.progress("x.5") + _order(6) + frames.progress("x.9"),
        (Seen("order.created", "1", "x.1"), Seen("order.created", "6", "x.6")),
        "x.9",
    ),
    "comments": Stream(
        lambda: frames.HEARTBEAT + frames.retry(10) + frames.HEARTBEAT * 3 + _order(1) + frames.HEARTBEAT,
        (Seen("order.created", "1", "x.1"),),
        "x.1",
    ),
    "whole-life": Stream(_whole_life, _WHOLE_LIFE, "x.7"),
}
