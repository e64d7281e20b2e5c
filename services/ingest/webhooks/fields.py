"""The fields of declarations: each with what it may hold, and an error that never shows what it held. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from services.ingest.webhooks.credentials import AUTHORIZATION
from services.ingest.webhooks.extensions import MAX_ATTRIBUTE_CHARS, extension_of
from services.ingest.webhooks.naming import Fixed, FromField, FromHeader, Pick
from shared.model.checks import rule
from shared.model.errors import InvalidInput
from shared.model.tags import checked_tag, is_internal

MAX_HEADERS = 20

# RFC 9110, 5.6.2.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_CREDENTIALS = frozenset({AUTHORIZATION, "cookie", "proxy-authorization"})


class Declared(BaseModel):
    """What models of declarations derive from."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise rule("it is no name of a header", "write a name such as X-Event")
    return value.lower()


def _kept_header(value: str) -> str:
    if value in _CREDENTIALS:
        raise credential(value)
    if len(extension_of(value)) > MAX_ATTRIBUTE_CHARS:
        raise rule("its name is too long for an attribute of an event", "leave it out")
    return value


def credential(header: str) -> PydanticCustomError:
    """What to raise where an event would hold a credential: whoever reads the log would have it."""
    return rule(f"{header} is a credential, and must not be kept", "leave it out")


def _tag(value: str) -> str:
    if is_internal(value):
        raise rule("control tags are for Carillon's own events", "address users, topics or everyone")
    try:
        return checked_tag(value)
    except InvalidInput as refused:
        raise rule(refused.problem, refused.fix) from None


def _as_list(value: object) -> object:
    return value.split() if isinstance(value, str) else value


def _as_place(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


HeaderName = Annotated[str, AfterValidator(_header_name)]
KeptHeader = Annotated[HeaderName, AfterValidator(_kept_header)]
KeptHeaders = Annotated[tuple[KeptHeader, ...], BeforeValidator(_as_list), Field(max_length=MAX_HEADERS)]
Audience = Annotated[tuple[Annotated[str, AfterValidator(_tag)], ...], BeforeValidator(_as_list)]
Words = Annotated[str, Field(pattern=r"^[\w.-]{0,100}$")]
ShortText = Annotated[str, Field(min_length=1, max_length=200)]


class PickPlace(Declared):
    """A text alone, `{header: NAME}` or `{field: PATH}`."""

    text: ShortText | None = None
    header: KeptHeader | None = None
    field: ShortText | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.text, self.header, self.field).count(None) != 2:
            raise rule("it names no one place", "write {header: NAME}, {field: PATH} or a text")
        return self

    def pick(self) -> Pick:
        """What takes the text from a request."""
        if self.header is not None:
            return FromHeader(self.header)
        return FromField(self.field) if self.field is not None else Fixed(self.text or "")


Place = Annotated[PickPlace, BeforeValidator(_as_place)]
