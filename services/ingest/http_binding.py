"""CloudEvents over HTTP: content type, headers and body -> an event. Pure.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
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

from shared.model.errors import InvalidEvent
from shared.model.event import Event, decoded_json
from shared.web.problem import Refusal

Headers = Sequence[tuple[str, str]]
"""Names and values as they came; values are bytes decoded as Latin-1, as WSGI and ASGI have them."""

_PREFIX = "ce-"
_STRUCTURED = "application/cloudevents"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_UTF8 = ("utf-8", "utf8", "us-ascii", "ascii")
_FIX = "send one event as application/cloudevents+json, or its attributes as ce-* headers with the data as body"


class Mode(Enum):
    """How a request carries events."""

    STRUCTURED = auto()
    BINARY = auto()


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


def mode_of(media_type: MediaType, headers: Headers) -> Mode:
    """Which mode the request uses; the Content-Type decides before any header. Raises `Refusal` with 415."""
    if media_type.name.startswith(_STRUCTURED):
        return _structured_mode(media_type)
    if any(name.lower().startswith(_PREFIX) for name, _ in headers):
        return Mode.BINARY
    raise _unsupported(f"{media_type.name or 'no content type'}, and no ce-* header: that is no CloudEvent", _FIX)


def event_of(mode: Mode, media_type: MediaType, headers: Headers, body: bytes, max_bytes: int) -> Event:
    """The event of a request. Raises `InvalidEvent`, or `EventTooLarge` over `max_bytes`."""
    if mode is Mode.STRUCTURED:
        return Event.from_json(body, max_bytes)
    return Event.from_attributes(_attributes(headers) | content_of(media_type, body))


def _structured_mode(media_type: MediaType) -> Mode:
    match media_type.name:
        case "application/cloudevents+json" if media_type.is_utf8:
            return Mode.STRUCTURED
        case "application/cloudevents+json":
            raise _unsupported("JSON in another encoding than UTF-8", "encode the event as UTF-8")
        case "application/cloudevents-batch+json":
            # A batch would be a third mode, beside `event_of` an `events_of`: it needs an answer of its own for each.
            raise _unsupported("batches are not accepted yet", "send the events one by one")
        case other:
            raise _unsupported(f"the event format of {other} is not known here", _FIX)


def _unsupported(detail: str, fix: str) -> Refusal:
    # The header tells clients that negotiate (RFC 9110, 15.5.16).
    headers = {"Accept-Post": "application/cloudevents+json, */*"}
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
    if media_type.is_json:
        return {"data": decoded_json(body)}
    if media_type.is_text and media_type.is_utf8:
        try:
            return {"data": body.decode()}
        except UnicodeDecodeError:
            pass  # mislabelled: kept byte for byte
    return {"data_base64": base64.b64encode(body).decode()}
