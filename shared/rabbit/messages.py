"""Events, entries and dead letters as AMQP messages, and back. Plain functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from aiormq import spec
from aiormq.abc import DeliveredMessage

from shared.model.entry import Entry
from shared.model.event import Event
from shared.ports.broker import Arrival, DeadLetter, RpcRequest

CLOUDEVENT = "application/cloudevents+json"
JSON = "application/json"
PERSISTENT, TRANSIENT = 2, 1
PROGRESS_KEY = "progress"

# Properties and headers of a message must fit one frame, which RabbitMQ limits to 128 KiB. In it are
# tags to route by (BCC) and the audience to tell the feed, next to source, subject and tracestate of
# up to 2 KiB each. What is more is routed in several copies, and told at the end of the body.
MAX_HEADER_TAG_BYTES = 24 * 1024

# What a dead letter says about itself must fit that frame as well.
MAX_DETAIL_CHARS = 4000
MAX_ATTRIBUTES = 40
MAX_ATTRIBUTE_CHARS = 500
MAX_ATTRIBUTE_NAME_CHARS = 60

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Message:
    """What is published, but for the exchange."""

    routing_key: str
    body: bytes
    properties: spec.Basic.Properties
    is_watched: bool = False
    """Whether the broker shall return it where no queue takes it."""

    @property
    def id(self) -> str:
        """Its message id, by which the driver knows a returned one."""
        return self.properties.message_id or ""


def event_message(event: Event) -> Message:
    """The structured mode of the CloudEvents AMQP binding."""
    headers = _without_none(traceparent=event.traceparent, tracestate=event.tracestate)
    properties = spec.Basic.Properties(
        content_type=CLOUDEVENT, message_id=event.id, delivery_mode=PERSISTENT, headers=headers
    )
    return Message(event.type, event.to_json(), properties, is_watched=True)


def arrival_of(message: DeliveredMessage) -> Arrival:
    """What came in, from us or from any AMQP client, whose headers may hold anything."""
    return Arrival(message.body, message.delivery_tag or 0, bool(message.redelivered), *_context_of(message))


def _context_of(message: DeliveredMessage) -> tuple[str | None, str | None]:
    """(`traceparent`, `tracestate`) as the headers say."""
    headers: Mapping[str, Any] = message.header.properties.headers or {}
    traceparent, tracestate = headers.get("traceparent"), headers.get("tracestate")
    return (
        traceparent if isinstance(traceparent, str) else None,
        tracestate if isinstance(tracestate, str) else None,
    )


def raw_message(body: bytes, content_type: str) -> Message:
    """What a careless AMQP client would send."""
    properties = spec.Basic.Properties(content_type=content_type, message_id=uuid4().hex, delivery_mode=PERSISTENT)
    return Message("", body, properties, is_watched=True)


def entry_messages(entry: Entry, *, watched: bool = False) -> Iterator[Message]:
    """One message that reaches every feed of the audience; several copies of it for a long audience.

    Copies cannot be watched: that nobody takes one of them says nothing of the others.
    """
    parts = list(_parts(entry.audience))
    body, headers = entry.event, _entry_headers(entry)
    if len(parts) > 1:
        headers["event_bytes"] = str(len(body))
        body += headers.pop("audience").encode()
    for tags in parts:
        properties = spec.Basic.Properties(
            content_type=CLOUDEVENT,
            message_id=entry.id,
            message_type=entry.type,
            delivery_mode=TRANSIENT,
            headers=headers | {"BCC": list(tags[1:])} if len(tags) > 1 else headers,
        )
        yield Message(tags[0], body, properties, watched and len(parts) == 1)


def _entry_headers(entry: Entry) -> dict[str, Any]:
    return _without_none(
        position=str(entry.position),
        version=None if entry.version is None else str(entry.version),
        source=entry.source,
        subject=entry.subject,
        audience=" ".join(entry.audience),
        final="true" if entry.final else None,
        appended=str((entry.appended_at - _EPOCH) // _MILLISECOND),
        traceparent=entry.traceparent,
        tracestate=entry.tracestate,
    )


def progress_message(position: int) -> Message:
    """Tells every feed how far the dispatch is. Its key is no tag, so no entry ever has it."""
    properties = spec.Basic.Properties(delivery_mode=TRANSIENT, headers={"position": str(position)})
    return Message(PROGRESS_KEY, b"", properties)


def progress_of(message: DeliveredMessage) -> int | None:
    """The position of a progress message; None where it is an entry."""
    if message.routing_key != PROGRESS_KEY:
        return None
    headers: Mapping[str, Any] = message.header.properties.headers or {}
    return int(headers["position"])


def entry_of(message: DeliveredMessage) -> Entry:
    """The inverse of `entry_messages`, from any of the copies."""
    properties = message.header.properties
    headers: Mapping[str, Any] = properties.headers or {}
    version = headers.get("version")
    event, audience = message.body, headers.get("audience")
    if audience is None:
        event_bytes = int(headers["event_bytes"])
        event, audience = message.body[:event_bytes], message.body[event_bytes:].decode()
    return Entry(
        position=int(headers["position"]),
        version=None if version is None else int(version),
        source=headers["source"],
        id=properties.message_id or "",
        type=properties.message_type or "",
        subject=headers.get("subject"),
        audience=tuple(audience.split(" ")),
        final="final" in headers,
        traceparent=headers.get("traceparent"),
        tracestate=headers.get("tracestate"),
        appended_at=_EPOCH + int(headers["appended"]) * _MILLISECOND,
        event=event,
    )


def dead_letter_message(letter: DeadLetter, queue: str) -> Message:
    """The body as it came; why it is here stands in the headers, cut to their bounds."""
    attributes = {
        _cut(name, MAX_ATTRIBUTE_NAME_CHARS): _cut(value, MAX_ATTRIBUTE_CHARS)
        for name, value in list(letter.attributes.items())[:MAX_ATTRIBUTES]
    }
    headers: dict[str, Any] = {
        "reason": _cut(letter.reason, MAX_ATTRIBUTE_CHARS),
        "detail": _cut(letter.detail, MAX_DETAIL_CHARS),
        "attributes": attributes,
    }
    properties = spec.Basic.Properties(message_id=uuid4().hex, delivery_mode=PERSISTENT, headers=headers)
    return Message(queue, letter.body, properties, is_watched=True)


def dead_letter_of(message: DeliveredMessage) -> DeadLetter:
    """The inverse of `dead_letter_message`, and of what the broker itself makes at the delivery limit."""
    headers: Mapping[str, Any] = message.header.properties.headers or {}
    if "reason" not in headers:
        reason = str(headers.get("x-first-death-reason", "unknown")).replace("_", "-")
        return DeadLetter(message.body, reason, "the broker moved it here, not the persister", id=_letter_id(message))
    attributes = {str(name): str(value) for name, value in dict(headers.get("attributes") or {}).items()}
    return DeadLetter(
        message.body, str(headers["reason"]), str(headers.get("detail", "")), attributes, _letter_id(message)
    )


def _letter_id(message: DeliveredMessage) -> str:
    """As it was parked; what the broker moved here, or somebody else put here, is known by what it holds, too."""
    properties = message.header.properties
    if properties.message_id and "reason" in (properties.headers or {}):
        return properties.message_id
    return sha256(f"{properties.message_id} ".encode() + message.body).hexdigest()[:32]


def request_message(queue: str, body: bytes, id_: str, reply_to: str, expires_ms: int) -> Message:
    """A request that is not carried out any more once its time is over."""
    properties = spec.Basic.Properties(
        content_type=JSON,
        message_id=id_,
        correlation_id=id_,
        reply_to=reply_to,
        expiration=str(expires_ms),
        delivery_mode=PERSISTENT,
    )
    return Message(queue, body, properties)


def request_of(message: DeliveredMessage) -> RpcRequest:
    """What any AMQP client sent; of its properties only `user_id` is checked by the broker."""
    properties = message.header.properties
    return RpcRequest(message.body, properties.message_id or None, properties.user_id or None, *_context_of(message))


def attempts_of(message: DeliveredMessage) -> int:
    """How often a message of a quorum queue was handed to somebody who did not finish it."""
    count = (message.header.properties.headers or {}).get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0


def reply_message(request: DeliveredMessage, body: bytes) -> Message:
    """The reply to a request that names where to."""
    asked = request.header.properties
    properties = spec.Basic.Properties(
        content_type=JSON, message_id=uuid4().hex, correlation_id=asked.correlation_id, delivery_mode=TRANSIENT
    )
    return Message(asked.reply_to or "", body, properties)


def _parts(tags: Sequence[str]) -> Iterator[Sequence[str]]:
    """The tags in runs of at most `MAX_HEADER_TAG_BYTES`: nearly always one."""
    start, size_bytes = 0, 0
    for index, tag in enumerate(tags):
        tag_bytes = len(tag.encode()) + 1
        if size_bytes + tag_bytes > MAX_HEADER_TAG_BYTES:
            yield tags[start:index]
            start, size_bytes = index, 0
        size_bytes += tag_bytes
    if tags:
        yield tags[start:]


def _without_none(**headers: str | None) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if value is not None}


def _cut(text: str, limit_chars: int) -> str:
    """Garbage may hold lone surrogates, which no AMQP string can."""
    return text[:limit_chars].encode(errors="replace").decode()
