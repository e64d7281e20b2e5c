"""What a client asks of the inbox, checked. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.edge.parameters import flag, number, refuse_unknown
from shared.folds.inbox import MARKED, SUBSCRIPTION
from shared.folds.inbox_reading import Wanted
from shared.folds.moments import parsed, shown
from shared.folds.spans import Spans
from shared.model.control import SOURCE
from shared.model.cursor import Cursor
from shared.model.entry import Head
from shared.model.errors import InvalidInput
from shared.model.event import Event
from shared.model.notification import LEVELS
from shared.model.read_model import MAX_INTEGER
from shared.model.tags import checked_tag, inbox_tag

# What a person reads at once; the next page is a request away.
MAX_PAGE = 100
DEFAULT_PAGE = 50
# Marks of one request; more are marked up to a place.
MAX_IDS = 200
MAX_ID_CHARS = 40
# Ids of that length, and a cursor.
MAX_MARKING_BYTES = 16 * 1024

PAGE_PARAMETERS = ("limit", "cursor", "unread", "archived", "level", "topic", "since")
MARKS = {"seen": "seen", "read": "read", "unread": "unread", "archive": "archived", "unarchive": "unarchived"}
"""The last part of the address, and the mark that it makes."""


@dataclass(frozen=True, slots=True)
class Marking:
    """Which items are marked: these, or all at or below a position."""

    ids: tuple[str, ...] = ()
    through: int | None = None


def parse_page(parameters: Mapping[str, str], head: Head) -> Wanted:
    """The query of a page. Raises `InvalidInput`, naming the parameter."""
    refuse_unknown(parameters, PAGE_PARAMETERS)
    level, cursor = parameters.get("level"), parameters.get("cursor")
    if level is not None and level not in LEVELS:
        raise InvalidInput("level", f"{level[:40]!r} is unknown", f"use one of: {', '.join(LEVELS)}")
    return Wanted(
        limit=number(parameters, "limit", DEFAULT_PAGE, MAX_PAGE),
        below=MAX_INTEGER if cursor is None else _position("cursor", cursor, head),
        unread=flag(parameters, "unread"),
        archived=flag(parameters, "archived"),
        level=level,
        topic=parameters.get("topic"),
        since=_moment("since", parameters.get("since")),
    )


def parse_marking(body: Any, head: Head) -> Marking:
    """`{"ids": […]}` or `{"through": cursor}`. Raises `InvalidInput`, naming the member."""
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"ids", "through"}:
        raise InvalidInput("body", "it names neither ids nor a place", 'send {"ids": ["…"]} or {"through": "<cursor>"}')
    if "through" in body:
        return Marking(through=_position("through", body["through"], head))
    ids = body["ids"]
    if not isinstance(ids, list) or not 0 < len(ids) <= MAX_IDS:
        raise InvalidInput("ids", "it is no list of a few", f"send 1 to {MAX_IDS} ids, or mark up to a cursor")
    if not all(isinstance(id_, str) and len(id_) <= MAX_ID_CHARS for id_ in ids):
        raise InvalidInput("ids", "one of them is no id", "send the ids of items as the inbox has them")
    return Marking(ids=tuple(dict.fromkeys(ids)))


def parse_mute(body: Any, now: datetime) -> str | None:
    """`{"until": RFC 3339 or null}` -> when the topic is heard again; None for never. Raises `InvalidInput`."""
    if not isinstance(body, dict) or not body.keys() <= {"until"}:
        raise InvalidInput("body", "it is not what mutes a topic", 'send {"until": "2026-01-31T12:00:00Z"} or {}')
    until = body.get("until")
    if until is None:
        return None
    moment = _moment("until", until)
    if moment is not None and moment <= shown(now):
        raise InvalidInput("until", "it is over already", "name a time to come")
    return moment


def topic_tag(topic: str) -> str:
    """The tag of a topic in an address. Raises `InvalidInput`."""
    return checked_tag(f"topic:{topic}")


def marked(sub: str, mark: str, spans: Spans, marking: Marking) -> Event:
    """What is appended for a mark: the positions it is about, and what the client said."""
    told: dict[str, Any] = {"user": sub, "mark": mark, "spans": list(map(list, spans))}
    told |= {"ids": list(marking.ids)} if marking.through is None else {"through": marking.through}
    return _event(MARKED, sub, told)


def subscription_changed(sub: str, topic: str, change: str, until: str | None) -> Event:
    """What is appended for a change of a subscription."""
    told = {"user": sub, "topic": topic, "change": change}
    return _event(SUBSCRIPTION, sub, told | ({"until": until} if until is not None else {}))


def _event(type_: str, sub: str, data: dict[str, Any]) -> Event:
    attributes = {"specversion": "1.0", "id": secrets.token_hex(12), "source": SOURCE, "type": type_}
    time = shown(datetime.now(UTC))
    return Event.from_attributes(attributes | {"time": time, "audience": inbox_tag(sub), "data": data})


def _position(name: str, text: object, head: Head) -> int:
    """The position of a cursor of this log. Raises `InvalidInput`."""
    if not isinstance(text, str):
        raise InvalidInput(name, "it is no cursor", "send the cursor of a page or of a frame")
    try:
        cursor = Cursor.parse(text)
    except InvalidInput as refused:
        raise InvalidInput(name, refused.problem, "send the cursor of a page or of a frame unchanged") from None
    if cursor.log_id != head.log_id:
        raise InvalidInput(name, "it is of another log", "load the inbox again")
    if cursor.position > head.last:
        raise InvalidInput(name, "it lies beyond the end of the log", "send the cursor of a page or of a frame")
    return cursor.position


def _moment(name: str, text: object) -> str | None:
    if text is None:
        return None
    moment = parsed(text)
    if moment is None:
        raise InvalidInput(name, f"{str(text)[:40]!r} is no time", "use RFC 3339, such as 2026-01-31T12:00:00Z")
    return shown(moment)
