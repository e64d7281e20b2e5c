"""What one connection asked for when it was opened. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.edge.grants import MAX_ASKED_TOPICS, MAX_TYPE_PATTERNS, TypeFilter, parse_list
from services.edge.handover import EARLIEST
from services.edge.parameters import refuse_unknown
from shared.model.cursor import Cursor
from shared.model.errors import InvalidInput

CURSOR, TICKET = "last-event-id", "ticket"
PARAMETERS = (CURSOR, "topics", "types", "as", "heartbeat", TICKET)
MIN_HEARTBEAT_S, MAX_HEARTBEAT_S = 1.0, 120.0
# Longer than any cursor of ours; what is longer is none, and not worth looking at.
MAX_CURSOR_CHARS = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """Where to begin, what of the session's slice to send, and how."""

    cursor: str | None = None
    """As the client sent it; None for what comes from now on."""
    topics: tuple[str, ...] | None = None
    types: TypeFilter | None = None
    unnamed: bool = False
    """Whether events come without their names, for clients that listen to `message` only."""
    heartbeat_s: float | None = None


def parse_selection(
    parameters: Mapping[str, str], last_event_id: str | None, known: Sequence[str] = PARAMETERS
) -> Selection:
    """The query and the `Last-Event-ID` header -> Selection. Raises `InvalidInput`, naming the parameter.

    The header is the browser's own, and newer than the address. An unreadable one gets a `reset`,
    since no browser can mend it and any error status would stop its EventSource for good; an
    unreadable parameter was written by somebody: tell them.
    """
    refuse_unknown(parameters, known)
    types = parameters.get("types")
    topics = parameters.get("topics")
    return Selection(
        cursor=last_event_id[:MAX_CURSOR_CHARS] if last_event_id else _cursor(parameters.get(CURSOR)),
        topics=None if topics is None else parse_list("topics", topics, MAX_ASKED_TOPICS),
        types=None if types is None else TypeFilter(parse_list("types", types, MAX_TYPE_PATTERNS)),
        unnamed=_unnamed(parameters.get("as")),
        heartbeat_s=_heartbeat(parameters.get("heartbeat")),
    )


def _cursor(text: str | None) -> str | None:
    if text is not None and text != EARLIEST:
        Cursor.parse(text)
    return text


def _unnamed(text: str | None) -> bool:
    if text not in (None, "message"):
        raise InvalidInput("as", f"{text[:40]!r} is unknown", "use as=message, or leave it out for named events")
    return text is not None


def _heartbeat(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not MIN_HEARTBEAT_S <= seconds <= MAX_HEARTBEAT_S:
        fix = f"give seconds from {MIN_HEARTBEAT_S:g} to {MAX_HEARTBEAT_S:g}"
        raise InvalidInput("heartbeat", f"{text[:40]!r} is no lawful interval", fix)
    return seconds
