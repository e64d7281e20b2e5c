"""A source: one place that webhooks come from, with all that is known of it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from services.ingest.http_binding import MediaType, content_of
from services.ingest.webhooks.extensions import extension_of
from services.ingest.webhooks.naming import Name, Naming
from services.ingest.webhooks.posted import Posted
from services.ingest.webhooks.schemes import Scheme
from shared.model.errors import InvalidEvent
from shared.model.event import Event
from shared.model.tags import audience_text
from shared.web.problem import Refusal

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
# What GitHub sends where its own default, the form, was left in place.
FORM_FIELD = "payload"
# It sends one; so much is looked at before anything is refused.
MAX_FORM_FIELDS = 10

# What the edges say of sessions, connections and inboxes.
OWN_TYPES = "carillon."
PATH_PREFIX = "/webhooks/"


@dataclass(frozen=True, slots=True)
class Source:
    """How its webhooks are verified, and what becomes of them.

    Args:
        media_types: what is taken; empty for anything.
        audience: tags of each event, besides what rules add.
        headers: that are kept, by lower-case name. They must be the same in each try of the sender.
        drops_tests: whether events of the sender's test mode are answered, and go nowhere.
    """

    name: str
    kind: str
    scheme: Scheme
    naming: Naming
    media_types: Collection[str] = ()
    audience: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    drops_tests: bool = False

    def check_media_type(self, media_type: MediaType) -> None:
        """Raises `Refusal` with 415."""
        if self.media_types and media_type.name not in self.media_types:
            detail = f"{media_type.name[:80] or 'no content type'}: that is not what {self.kind} sends"
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            raise Refusal(status, detail, field="Content-Type", fix=f"send {JSON}")

    def event(self, posted: Posted, media_type: MediaType) -> Event | None:
        """The event of a verified request; None for what goes nowhere. Raises `InvalidEvent`."""
        content = _form_content(posted.body) if self._is_form(media_type) else content_of(media_type, posted.body)
        name = self.naming(posted, content.get("data") if "data" in content else None)
        if name.is_test and self.drops_tests:
            return None
        if name.type.lower().startswith(OWN_TYPES):
            raise InvalidEvent("type", "it is one of Carillon's own", f"do not begin a type with {OWN_TYPES}")
        return Event.from_attributes(self._attributes(name) | content | self._kept(posted))

    def _is_form(self, media_type: MediaType) -> bool:
        return media_type.name == FORM and FORM in self.media_types

    def _attributes(self, name: Name) -> dict[str, Any]:
        optional = {
            "time": name.time,
            "subject": name.subject,
            "audience": audience_text(self.audience) if self.audience and not name.is_ping else None,
        }
        return {
            "specversion": "1.0",
            "id": name.id,
            "source": f"{PATH_PREFIX}{self.name}",
            "type": name.type,
        } | {attribute: value for attribute, value in optional.items() if value is not None}

    def _kept(self, posted: Posted) -> dict[str, str]:
        found = {name: posted.header(name) for name in self.headers}
        return {extension_of(name): _readable(value) for name, value in found.items() if value is not None}


def _readable(value: str) -> str:
    """UTF-8 where it is that; any bytes are text in Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _form_content(body: bytes) -> dict[str, Any]:
    try:
        fields = dict(parse_qsl(body.decode(), strict_parsing=True, max_num_fields=MAX_FORM_FIELDS, errors="strict"))
    except ValueError:
        fields = {}
    payload = fields.get(FORM_FIELD)
    if payload is None:
        raise InvalidEvent("body", f"it is no form with the field {FORM_FIELD!r}", f"send {JSON}")
    return content_of(MediaType.parse(JSON), payload.encode())
