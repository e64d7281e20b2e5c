"""What an event says, apart from how it was carried: whether a repeated event is the same one.

Two events of one `source` and `id` are the same where all attributes and the data are, compared as values:
the order of members, white space and the mode that carried them do not count. What differs from one try to
the next does not count, either: the trace context, and `time`, which many senders make anew.

The audience is compared apart, because rules add to it: who a repeat names must have been named before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic_core import from_json

from shared.model.entry import Entry, is_hollow
from shared.model.errors import IdentityConflict
from shared.model.event import Event

_OF_ONE_TRY = frozenset({"audience", "traceparent", "tracestate", "time"})
# Of an event as JSON that does not say so itself: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#31-handling-of-data
_IMPLIED = "application/json"
# SDKs add it to what is UTF-8 in any case.
_UTF8 = re.compile(r"\s*;\s*charset=\"?utf-8\"?")
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_FIX = "give another event an id of its own; send the same one again unchanged"


@dataclass(frozen=True, slots=True)
class Content:
    """What of an event is compared with a repeat of it."""

    digest: str | None
    """SHA-256 in hexadecimal digits; None where retention has removed what it said."""
    tags: frozenset[str]

    @classmethod
    def of(cls, event: Event) -> Content:
        given = event.__pydantic_fields_set__
        attributes = {name: value for name, value in event.__dict__.items() if name in given}
        return cls(_digest(attributes | (event.model_extra or {})), frozenset(event.tags))

    @classmethod
    def of_json(cls, event: bytes) -> Content:
        """Of one that was checked before, as `Event.to_json` has it."""
        attributes = from_json(event)
        audience = attributes.get("audience")
        return cls(_digest(attributes), frozenset(audience.split(" ") if audience else ()))

    @classmethod
    def of_entry(cls, entry: Entry) -> Content:
        """Of an event in the log. It was checked by the rules of its time, and is not checked again."""
        attributes = from_json(entry.event)
        return cls(None if is_hollow(attributes) else _digest(attributes), frozenset(entry.audience))

    def check_repeat(self, repeat: Content) -> None:
        """Raises `IdentityConflict` where the repeat says something else than this, or says it to others."""
        if self.digest is None:
            return
        if repeat.digest != self.digest:
            problem = f"of this source and id there is an event with other content: sha256 {self.digest}"
            raise IdentityConflict("id", f"{problem}, and here {repeat.digest}", _FIX)
        if others := repeat.tags - self.tags:
            problem = f"of this source and id there is an event that is not for {min(others)[:80]!r}"
            raise IdentityConflict("audience", problem, _FIX)


def _digest(attributes: Mapping[str, Any]) -> str:
    content = {name: _plain(name, value) for name, value in attributes.items() if name not in _OF_ONE_TRY}
    if "data" in content:
        content.setdefault("datacontenttype", _IMPLIED)
    return sha256(_CANONICAL.encode(content).encode()).hexdigest()


def _plain(name: str, value: Any) -> Any:
    """An attribute as headers carry it, which have no types (CloudEvents, 3.1); data as it is."""
    if name == "datacontenttype" and isinstance(value, str):
        return _UTF8.sub("", value.lower())
    if name == "data" or isinstance(value, str):
        return value
    return json.dumps(value)
