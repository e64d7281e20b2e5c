"""What a client asks of streams by subject, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.edge.grants import MAX_ASKED_TOPICS, parse_list
from services.edge.parameters import number, refuse_unknown
from services.edge.selection import PARAMETERS as STREAM_PARAMETERS
from shared.folds.streams import STATUSES, checked_prefix
from shared.model.cursor import Cursor
from shared.model.errors import InvalidCursor, InvalidInput
from shared.model.event import MAX_LONG_BYTES

TOPICS = "topics"
PREFIX = "prefix"
# A page that a person reads; more is one request away.
DEFAULT_LISTED = 50
MAX_LISTED = 100
SNAPSHOT_PARAMETERS = (TOPICS,)
LIST_PARAMETERS = (PREFIX, "status", "cursor", "limit", TOPICS)
# A stream of one subject has its own end, which a filter of types would hide.
SUBJECT_PARAMETERS = tuple(name for name in STREAM_PARAMETERS if name != "types")
PREFIX_PARAMETERS = (*STREAM_PARAMETERS, PREFIX)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One page of streams."""

    prefix: str
    statuses: tuple[str, ...]
    before: int | None
    """Streams that began below this position; None for the newest."""
    limit: int


def parse_topics(parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    """The topics asked for; None for all that are granted. Raises `InvalidInput`."""
    text = parameters.get(TOPICS)
    return None if text is None else parse_list(TOPICS, text, MAX_ASKED_TOPICS)


def parse_listing(parameters: Mapping[str, str], log_id: str) -> Wanted:
    """The query of `GET /v1/streams`. Raises `InvalidInput`, naming the parameter."""
    refuse_unknown(parameters, LIST_PARAMETERS)
    return Wanted(
        prefix=checked_prefix(parameters.get(PREFIX, "")),
        statuses=_statuses(parameters.get("status")),
        before=_before(parameters.get("cursor"), log_id),
        limit=number(parameters, "limit", DEFAULT_LISTED, MAX_LISTED),
    )


def parse_prefix(parameters: Mapping[str, str]) -> str:
    """The prefix of a stream of many subjects. Raises `InvalidInput`."""
    prefix = parameters.get(PREFIX, "")
    if not prefix or len(prefix.encode()) > MAX_LONG_BYTES:
        fix = f"name the beginning of the subjects, such as prefix=job/, in at most {MAX_LONG_BYTES} bytes"
        raise InvalidInput(PREFIX, "it is empty or too long", fix)
    return prefix


def _statuses(text: str | None) -> tuple[str, ...]:
    asked = () if text is None else parse_list("status", text, len(STATUSES))
    for status in asked:
        if status not in STATUSES:
            raise InvalidInput("status", f"{status[:40]!r} is no status", f"use some of: {', '.join(STATUSES)}")
    return asked


def _before(text: str | None, log_id: str) -> int | None:
    if text is None:
        return None
    fix = "send the `next` of the page before, or nothing to begin with the newest"
    try:
        cursor = Cursor.parse(text)
    except InvalidCursor as refused:
        raise InvalidInput("cursor", refused.problem, fix) from None
    if cursor.log_id != log_id:
        raise InvalidInput("cursor", "it is of another log", fix)
    return cursor.position
