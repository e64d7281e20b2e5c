"""The event: a CloudEvent 1.0 in structured JSON, checked once where it enters.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from shared.model.checks import CONTROL_CHARACTER, flaw_of, rule, text
from shared.model.errors import EventTooLarge, InvalidEvent, InvalidInput
from shared.model.tags import parse_audience

MAX_EVENT_BYTES = 256 * 1024
# AMQP short strings (message id, routing key) hold 255 bytes.
MAX_SHORT_BYTES = 255
MAX_LONG_BYTES = 2048

# Frames of ours, and events that a browser's EventSource fires itself: a page could not tell them apart.
RESERVED_TYPES = frozenset({
    "closing", "connected", "end", "error", "inbox.changed", "message", "open", "reset", "session-expiring", "snapshot",
    "stale",
})  # fmt: skip

# Who else receives it; and what tracing systems tell each other, which browsers have no use for.
NOT_SHOWN = {"audience", "tracestate", "baggage"}

_EXTENSION = re.compile(r"[a-z0-9]{1,64}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:(?:[0-5]\d|60)(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _check_time(value: str) -> str:
    try:
        if not _TIME.fullmatch(value):
            raise ValueError
        # Leap seconds are lawful in RFC 3339 and unknown to datetime; so are nanoseconds.
        datetime.fromisoformat(re.sub(r"\.\d+", "", value.upper()).replace(":60", ":59", 1))
    except ValueError:
        raise rule(f"{value[:40]!r} is not a timestamp", "use RFC 3339, such as 2026-01-31T12:00:00Z") from None
    return value


def is_traceparent(value: str) -> bool:
    """Whether the text is a W3C trace context that names a span."""
    return _TRACEPARENT.fullmatch(value) is not None


def is_tracestate(value: str) -> bool:
    """Whether the text may go with a trace context. An AMQP header that nobody has checked may hold 128 KiB,
    with which no delivery of the event would fit its frame, and every later one would wait behind it.
    """
    return 0 < len(value) <= MAX_LONG_BYTES and value.isascii() and value.isprintable()


def _check_traceparent(value: str) -> str:
    if not is_traceparent(value):
        raise rule(f"{value[:60]!r} is not a W3C trace context", "send 00-<32 hex>-<16 hex>-<2 hex>, or leave it out")
    return value


def _check_audience(value: str) -> str:
    try:
        parse_audience(value)
    except InvalidInput as refused:
        raise rule(refused.problem, refused.fix) from None
    return value


def _check_expected_version(value: str | int) -> str | int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", str(value)):
        raise rule(f"{str(value)[:40]!r} is not a version", "use the stream's last version, 0 where it has none")
    return value


def _check_type(value: str) -> str:
    if value in RESERVED_TYPES:
        raise rule(f"{value!r} is a name of the stream itself", "use a dotted type of your own, such as order.created")
    return value


Short = Annotated[str, text(MAX_SHORT_BYTES)]
Long = Annotated[str, text(MAX_LONG_BYTES)]


class Event(BaseModel):
    """One immutable fact. Extension attributes beyond those named here are kept in `model_extra`.

    Values are held as they were sent, so that what comes out of a stream equals what went in.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    specversion: Literal["1.0"]
    id: Short
    source: Long
    type: Annotated[Short, AfterValidator(_check_type)]
    subject: Long | None = None
    time: Annotated[str, AfterValidator(_check_time)] | None = None
    datacontenttype: Long | None = None
    dataschema: Long | None = None
    data: Any = None
    data_base64: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")] | None = None

    audience: Annotated[str, AfterValidator(_check_audience)] | None = None
    traceparent: Annotated[str, AfterValidator(_check_traceparent)] | None = None
    tracestate: Long | None = None
    final: Literal["true", "false"] | bool | None = None
    expectedversion: Annotated[str | int, AfterValidator(_check_expected_version)] | None = None

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if not _EXTENSION.fullmatch(name):
                raise rule(f"{name[:40]!r} is not an attribute name", "use lower-case letters and digits only")
            if not isinstance(value, str | int):
                raise rule(f"the extension {name!r} is no string, number or boolean", "put structures into data")
            if isinstance(value, str) and CONTROL_CHARACTER.search(value):
                raise rule(f"the extension {name!r} holds a control character", "remove it")
        if "data" in self.model_fields_set and "data_base64" in self.model_fields_set:
            raise rule("both data and data_base64 are present", "send one of them")
        if self.expectedversion is not None and self.subject is None:
            raise rule("expectedversion without a subject", "name the stream in subject")
        return self

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> Event:
        """Checks already decoded attributes. Raises `InvalidEvent`, naming the first bad one."""
        try:
            return cls.model_validate(attributes)
        except ValidationError as refused:
            raise _as_invalid_event(refused) from None

    @classmethod
    def from_json(cls, body: bytes, max_bytes: int = MAX_EVENT_BYTES) -> Event:
        """Structured-mode JSON -> Event. Raises `InvalidEvent`, or `EventTooLarge` over `max_bytes`."""
        if len(body) > max_bytes:
            raise EventTooLarge("body", f"{len(body)} bytes", f"send at most {max_bytes}, or a link to the rest")
        attributes = decoded_json(body)
        if not isinstance(attributes, dict):
            raise InvalidEvent("body", "it is JSON, but not an object", "send one CloudEvent as a JSON object")
        return cls.from_attributes(attributes)

    def to_json(self) -> bytes:
        """The structured mode, holding exactly the attributes that were given."""
        return self.__pydantic_serializer__.to_json(self, exclude_unset=True)

    def public_json(self) -> bytes:
        """What a stream shows: everything but what is nobody's business there."""
        return self.__pydantic_serializer__.to_json(self, exclude_unset=True, exclude=NOT_SHOWN)

    @property
    def tags(self) -> tuple[str, ...]:
        """The audience as tags; empty where nobody but the log sees the event."""
        return tuple(dict.fromkeys(self.audience.split(" "))) if self.audience else ()

    @property
    def is_final(self) -> bool:
        """Whether this event ends its stream."""
        return self.final in (True, "true")

    @property
    def expected_version(self) -> int | None:
        """The version that the stream must have for this event to be appended."""
        return None if self.expectedversion is None else int(self.expectedversion)


def decoded_json(body: bytes) -> Any:
    """Strict JSON (RFC 8259, no NaN, no lone surrogates) -> Python. Raises `InvalidEvent`."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as refused:
        raise InvalidEvent("body", f"it is not JSON ({refused})", "send UTF-8 JSON as in RFC 8259") from None
    # The decoder makes infinity of what float64 cannot hold, and JSON cannot say that again. To search the
    # bytes for such numbers first takes three to five times as long as to look at the values.
    if not _is_finite(value):
        raise InvalidEvent("body", "it holds a number beyond the range of float64", "send such a number as a string")
    return value


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _as_invalid_event(refused: ValidationError) -> InvalidEvent:
    flaw = flaw_of(refused)
    field = flaw.where[0] if flaw.where else "event"
    if flaw.kind == "missing":
        return InvalidEvent(field, "it is missing", f"every CloudEvent needs {field!r}")
    if field == "specversion":
        return InvalidEvent(field, f"{str(flaw.found)[:20]!r} is not supported", "use '1.0'")
    return InvalidEvent(field, flaw.problem, flaw.fix or "see docs/reference/events.md")
