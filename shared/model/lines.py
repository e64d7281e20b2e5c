"""A log as JSON Lines: what exports, archives and `log ls --json` write, and imports read. Pure.

The first line of an export names the log; then come the versions that streams had reached below the
floor, then the entries. An entry's event is the last member of its line, byte for byte as it is stored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.model.entry import Entry, Head
from shared.model.errors import InvalidEvent, InvalidInput
from shared.model.event import Event, decoded_json
from shared.model.tags import audience_text, parse_audience

_FORMAT = 1
# An event at the default limit, its audience of 2,000 tags of 200 bytes, and the rest.
MAX_LINE_BYTES = 8 * 1024 * 1024
_EVENT = b',"event":'


@dataclass(frozen=True, slots=True)
class StreamVersion:
    """How far a stream had come whose entries lie below the floor."""

    subject: str
    version: int


Line = Head | StreamVersion | Entry


def head_line(head: Head) -> bytes:
    """The first line of an export."""
    return _dumped(
        {"carillon": "log", "format": _FORMAT, "log_id": head.log_id, "floor": head.floor, "last": head.last}
    )


def version_line(subject: str, version: int) -> bytes:
    """A line for a stream whose last version lies below the floor."""
    return _dumped({"stream": subject, "version": version})


def entry_line(entry: Entry) -> bytes:
    """`{"position", "version", "appended_at", "audience", "event"}`, without a line end."""
    before = _dumped({
        "position": entry.position,
        "version": entry.version,
        "appended_at": entry.appended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "audience": list(entry.audience),
    })  # fmt: skip
    event = entry.event
    if b"\n" in event or b"\r" in event:
        event = _dumped(json.loads(event))
    return before[:-1] + _EVENT + event + b"}"


def parsed_line(line: bytes, number: int) -> Line:
    """The inverse of the three. Raises `InvalidInput`, naming the line and its field."""
    try:
        members = decoded_json(line)
        if not isinstance(members, dict):
            raise TypeError("it is JSON, but no object")
        if "carillon" in members:
            return _head(members)
        if "stream" in members:
            return StreamVersion(str(members["stream"]), _integer(members, "version"))
        return _entry(members, line)
    except KeyError as missing:
        raise _refused(number, f"{missing} is missing") from None
    except InvalidInput as refused:
        raise _refused(number, f"{refused.field}: {refused.problem}") from None
    except (ValueError, TypeError, OverflowError) as wrong:
        raise _refused(number, str(wrong)) from None


def _head(members: dict[str, Any]) -> Head:
    if members["format"] != _FORMAT:
        raise ValueError(f"format {members['format']!r} is not known here, only {_FORMAT}")
    return Head(str(members["log_id"]), _integer(members, "last"), _integer(members, "floor"))


def _entry(members: dict[str, Any], line: bytes) -> Entry:
    audience = parse_audience(audience_text(members["audience"]))
    event = Event.from_attributes(members["event"])
    version = None if members["version"] is None else _integer(members, "version")
    if (version is None) is not (event.subject is None):
        raise InvalidEvent("version", "an entry has one if, and only if, its event has a subject", "mend the line")
    return Entry(
        position=_integer(members, "position"),
        version=version,
        source=event.source,
        id=event.id,
        type=event.type,
        subject=event.subject,
        audience=audience,
        final=event.is_final,
        traceparent=event.traceparent,
        tracestate=event.tracestate,
        appended_at=_moment(members["appended_at"]),
        event=_event_bytes(line, members["event"]),
    )


def _integer(members: dict[str, Any], name: str) -> int:
    if type(value := members[name]) is not int or value < 0:
        raise ValueError(f"{name} is no number of a log: {str(value)[:40]}")
    return value


def _moment(text: str) -> datetime:
    """In UTC. Without a zone it would be another time on each machine."""
    if (moment := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError(f"appended_at has no time zone: {text}")
    return moment.astimezone(UTC)


def _event_bytes(line: bytes, event: dict[str, Any]) -> bytes:
    """The event as it stands in the line.

    The mark before it cannot stand in a string, where the quotes would be escaped. A line that
    somebody edited may have its members in another order; then the event is written anew.
    """
    text = line.rstrip(b"\r\n \t")
    found = text[text.find(_EVENT) + len(_EVENT) : -1] if _EVENT in text else b""
    try:
        return found if json.loads(found) == event else _dumped(event)
    except ValueError:
        return _dumped(event)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _refused(number: int, problem: str) -> InvalidInput:
    return InvalidInput(f"line {number}", problem, "give a file that `carillon log export` wrote")
