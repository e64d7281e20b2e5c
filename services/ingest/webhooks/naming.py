"""What a webhook's event is called, and when it happened: from what was signed, or from declared headers. Pure.

A name that is taken may be refused with `InvalidEvent`, which says where it was looked for, and never shows it.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from services.ingest.webhooks.posted import Posted
from services.ingest.webhooks.schemes import StandardWebhooks
from services.ingest.webhooks.timestamps import in_utc, rfc3339
from shared.model.errors import InvalidEvent

# Words of a type; what else a sender puts between them becomes a dot: `orders/create` is `orders.create`.
_BETWEEN_WORDS = re.compile(r"[^\w-]+")


@dataclass(frozen=True, slots=True)
class Name:
    """What an event is called."""

    id: str
    type: str
    time: str | None = None
    subject: str | None = None
    is_ping: bool = False
    """It only says that the sender found its way here, which is nobody's news."""
    is_test: bool = False
    """It happened in the sender's test mode."""


Naming = Callable[[Posted, Any], Name]
"""The request and its body, where that is JSON, -> a name. Raises `InvalidEvent`."""


def dotted(*words: str) -> str:
    """Words as a type; those of which nothing is left are left out."""
    return ".".join(filter(None, (_BETWEEN_WORDS.sub(".", word).strip(".") for word in words)))


# GitHub

GITHUB_EVENT, GITHUB_DELIVERY = "x-github-event", "x-github-delivery"


def github(posted: Posted, body: Any) -> Name:
    """`github.<event>[.<action>]`. Neither event nor delivery are signed; both are declared by GitHub.

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
    """
    event = _words(_header(posted, GITHUB_EVENT), GITHUB_EVENT)
    action = _object(body).get("action")
    return Name(
        id=_header(posted, GITHUB_DELIVERY),
        type=dotted("github", event, action if isinstance(action, str) else ""),
        is_ping=event == "ping",
    )


# Stripe


def stripe(posted: Posted, body: Any) -> Name:
    """`stripe.<type>`; id, type and time are those of the signed event object, v1 or v2.

    Source: https://docs.stripe.com/api/events/object
    """
    event = _object(body)
    return Name(
        id=_field(event, "id"),
        type=dotted("stripe", _words(_field(event, "type"), "body.type")),
        time=_time(event.get("created")),
        is_test=event.get("livemode") is False,
    )


# Standard Webhooks


@dataclass(frozen=True, slots=True)
class Standard:
    """`<prefix>.<type>`, with the type of the signed body; `<prefix>.received` where it has none."""

    prefix: str

    def __call__(self, posted: Posted, body: Any) -> Name:
        event = body if isinstance(body, dict) else {}
        type_ = event.get("type")
        return Name(
            id=_header(posted, StandardWebhooks.ID),
            type=dotted(self.prefix, type_ if isinstance(type_, str) and dotted(type_) else "received"),
            time=_time(event.get("timestamp")),
        )


# As declared


class Pick(Protocol):
    """Where one text is taken from."""

    def __call__(self, posted: Posted, body: Any) -> str:
        """The text. Raises `InvalidEvent` where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class FromHeader:
    """From a header, in lower case."""

    name: str

    def __call__(self, posted: Posted, body: Any) -> str:
        return _header(posted, self.name)


@dataclass(frozen=True, slots=True)
class FromField:
    """From a field of the JSON body: names with dots between them."""

    path: str

    def __call__(self, posted: Posted, body: Any) -> str:
        return _field(body, self.path)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    text: str

    def __call__(self, posted: Posted, body: Any) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Fresh:
    """Never the same twice."""

    def __call__(self, posted: Posted, body: Any) -> str:
        return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Digest:
    """The SHA-256 of the body and of these headers: what was signed is one event, however often it comes."""

    headers: tuple[str, ...]

    def __call__(self, posted: Posted, body: Any) -> str:
        signed = [posted.header(name) or "" for name in self.headers]
        content = "\n".join(signed).encode("latin-1", errors="replace") + b"\n" + posted.body
        return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class AsDeclared:
    """`<prefix>.<type>`, each part taken from where the source's declaration says."""

    prefix: str
    id: Pick
    type: Pick
    subject: Pick | None = None

    def __call__(self, posted: Posted, body: Any) -> Name:
        name = Name(self.id(posted, body), dotted(self.prefix, _words(self.type(posted, body), "type")))
        return replace(name, subject=self.subject(posted, body)) if self.subject else name


def _words(text: str, where: str) -> str:
    """Text as words of a type, of which there must be one."""
    words = dotted(text)
    if not words:
        raise InvalidEvent(where, "it holds no letter and no digit", "name the event in words")
    return words


def _header(posted: Posted, name: str) -> str:
    value = posted.header(name)
    if value is None:
        raise InvalidEvent(name, "the header is missing", "send it with each request")
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise InvalidEvent(name, "it is not UTF-8", "send ASCII, or text in UTF-8") from None


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidEvent("body", "it is no JSON object", "send one event as a JSON object")
    return body


def _field(body: Any, path: str) -> str:
    value = body
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    # True and False are ints in Python.
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidEvent(f"body.{path}", "there is no text and no number", "send it in each request")
    return str(value)


def _time(value: Any) -> str | None:
    """Unix time or ISO 8601 as RFC 3339; None for anything else: the event is not refused for a time."""
    try:
        if isinstance(value, str):
            then = datetime.fromisoformat(value)
            return None if then.tzinfo is None else in_utc(then)
        return rfc3339(value) if isinstance(value, int) and not isinstance(value, bool) else None
    except (ValueError, OverflowError, OSError):
        return None
