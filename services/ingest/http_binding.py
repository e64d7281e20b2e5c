"""CloudEvents over HTTP: content type, headers and body -> an event. Pure.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md,
and for batches https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.http import parse_options_header

from shared.model.errors import EventTooLarge, InvalidEvent
from shared.model.event import MAX_SHORT_BYTES, Event, decoded_json
from shared.web.problem import Refusal

Headers = Sequence[tuple[str, str]]
"""Names and values as they came; values are bytes decoded as Latin-1, as WSGI and ASGI have them."""

# Checking so many takes some milliseconds, in which nobody else is served.
MAX_BATCH_EVENTS = 500
# On the wire; a single event may be larger, where the setting says so.
MAX_BATCH_BYTES = 4 * 1024 * 1024

_PREFIX = "ce-"
_STRUCTURED = "application/cloudevents"
_BATCH = "application/cloudevents-batch"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_UTF8 = ("utf-8", "utf8", "us-ascii", "ascii")
_FIX = (
    "send one event as application/cloudevents+json, several as application/cloudevents-batch+json,"
    " or the attributes of one as ce-* headers with the data as body"
)


class Mode(Enum):
    """How a request carries events."""

    STRUCTURED = auto()
    BINARY = auto()
    BATCH = auto()


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type, taken apart."""

    text: str
    """As it was sent."""
    name: str
    """`type/subtype` in lower case; empty where none was sent."""
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, content_type: str | None) -> MediaType:
        name, parameters = parse_options_header(content_type)
        return cls((content_type or "").strip(), name.strip().lower(), parameters)

    @property
    def is_utf8(self) -> bool:
        """Whether its text is UTF-8, which is also what is meant where nothing is said."""
        return self.parameters.get("charset", "utf-8").lower() in _UTF8

    @property
    def is_json(self) -> bool:
        """As the JSON event format defines it, section 3.1: `*/json` and `*/*+json`."""
        return self.name.endswith(("/json", "+json"))

    @property
    def is_text(self) -> bool:
        """Whether its bytes are characters, so that a JSON string holds them readably."""
        is_form = self.name == "application/x-www-form-urlencoded"
        return is_form or self.name.startswith("text/") or self.name.endswith(("/xml", "+xml"))


@dataclass(frozen=True, slots=True)
class InvalidBatched:
    """What a batch holds in the place of an event."""

    source: str | None
    id: str | None
    error: InvalidEvent


def mode_of(media_type: MediaType, headers: Headers) -> Mode:
    """Which mode the request uses; the Content-Type decides before any header. Raises `Refusal` with 415."""
    if media_type.name.startswith(_STRUCTURED):
        return _structured_mode(media_type)
    if any(name.lower().startswith(_PREFIX) for name, _ in headers):
        return Mode.BINARY
    raise _unsupported(f"{media_type.name or 'no content type'}, and no ce-* header: that is no CloudEvent", _FIX)


def body_limit(media_type: MediaType, max_event_bytes: int) -> int:
    """How long the body of a request may be."""
    is_batch = media_type.name.startswith(_BATCH)
    return max(MAX_BATCH_BYTES, max_event_bytes) if is_batch else max_event_bytes


def event_of(mode: Mode, media_type: MediaType, headers: Headers, body: bytes, max_bytes: int) -> Event:
    """The event of a request with one. Raises `InvalidEvent`, or `EventTooLarge` over `max_bytes`."""
    if mode is Mode.STRUCTURED:
        return Event.from_json(body, max_bytes)
    return Event.from_attributes(_attributes(headers) | content_of(media_type, body))


def batch_of(body: bytes) -> list[Event | InvalidBatched]:
    """What a batch holds, in its order. Raises `InvalidEvent` for what is no batch, or too long a one."""
    found = decoded_json(body)
    if not isinstance(found, list):
        raise InvalidEvent("body", "it is JSON, but not an array", "send a batch as a JSON array of CloudEvents")
    if len(found) > MAX_BATCH_EVENTS:
        raise EventTooLarge("body", f"a batch of {len(found)} events", f"send at most {MAX_BATCH_EVENTS} at once")
    return list(map(_batched, found))


def _batched(found: Any) -> Event | InvalidBatched:
    if not isinstance(found, dict):
        refused = InvalidEvent("event", "it is not a JSON object", "send each event as a JSON object")
        return InvalidBatched(None, None, refused)
    try:
        return Event.from_attributes(found)
    except InvalidEvent as refused:
        return InvalidBatched(_short(found.get("source")), _short(found.get("id")), refused)


def _short(value: Any) -> str | None:
    """What is told back of an attribute, so that the sender knows the event again."""
    return value if isinstance(value, str) and len(value) <= MAX_SHORT_BYTES else None


def _structured_mode(media_type: MediaType) -> Mode:
    modes = {"application/cloudevents+json": Mode.STRUCTURED, "application/cloudevents-batch+json": Mode.BATCH}
    mode = modes.get(media_type.name)
    if mode is None:
        raise _unsupported(f"the event format of {media_type.name} is not known here", _FIX)
    if not media_type.is_utf8:
        raise _unsupported("JSON in another encoding than UTF-8", "encode it as UTF-8")
    return mode


def _unsupported(detail: str, fix: str) -> Refusal:
    # The header tells clients that negotiate (RFC 9110, 15.5.16).
    headers = {"Accept-Post": "application/cloudevents+json, application/cloudevents-batch+json, */*"}
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, field="Content-Type", fix=fix, headers=headers)


def _attributes(headers: Headers) -> dict[str, str]:
    """The context attributes of binary mode, section 3.1.3."""
    attributes: dict[str, str] = {}
    for header, value in headers:
        name = header.lower().removeprefix(_PREFIX)
        if name == header.lower():
            continue
        field_name = f"{_PREFIX}{name}"
        if name == "datacontenttype":
            raise InvalidEvent(field_name, "binary mode says this in Content-Type", "leave the header out")
        if name in ("data", "data_base64"):
            raise InvalidEvent(field_name, "binary mode has the data as its body", "move the data into the body")
        if name in attributes:
            raise InvalidEvent(field_name, "the header is there twice", "send it once")
        attributes[name] = _decoded(field_name, value)
    return attributes


def _decoded(name: str, value: str) -> str:
    """A header's value as text: unquoted, then percent-decoded once, section 3.1.3.2."""
    value = value.strip(" \t")
    if quoted := _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError:
        raise InvalidEvent(name, "it is not UTF-8", "percent-encode the value's UTF-8 bytes") from None


def content_of(media_type: MediaType, body: bytes) -> dict[str, Any]:
    """The body as attributes of the JSON event format, losing nothing of it."""
    content: dict[str, Any] = {"datacontenttype": media_type.text} if media_type.text else {}
    if body:
        content |= _as_data(media_type, body)
    return content


def _as_data(media_type: MediaType, body: bytes) -> dict[str, Any]:
    if not media_type.name:
        return _of_no_type(body)
    if media_type.is_json:
        return {"data": decoded_json(body)}
    if media_type.is_text and media_type.is_utf8:
        try:
            return {"data": body.decode()}
        except UnicodeDecodeError:
            pass  # mislabelled: kept byte for byte
    return {"data_base64": base64.b64encode(body).decode()}


def _of_no_type(body: bytes) -> dict[str, Any]:
    """A recipient may look what it is (RFC 9110, 8.3): SDKs send objects as JSON, and leave the type out."""
    try:
        return {"data": decoded_json(body)}
    except InvalidEvent:
        return {"data_base64": base64.b64encode(body).decode()}
