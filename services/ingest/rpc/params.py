"""What parameters are made of, and how they are checked. Pure.

They come by name; a name that a method does not know is refused, because a parameter that is misspelt and
ignored is found out by the user who was not told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from services.ingest.rpc.faults import Code, Fault
from shared.model.checks import Flaw, flaw_of, rule, text
from shared.model.errors import InvalidInput
from shared.model.event import MAX_LONG_BYTES, MAX_SHORT_BYTES, Long
from shared.model.tags import audience_text, parse_audience, user_tag

# Of a parameter's name in an error; longer than any of ours.
MAX_FIELD_CHARS = 80

Json = Any
"""Whatever JSON can say."""


def _check_audience(value: Json) -> str:
    match value:
        case str():
            text_of_tags = value
        case list() if all(isinstance(tag, str) for tag in value):
            text_of_tags = audience_text(value)
        case _:
            raise rule("it is neither a string nor a list of strings", "name tags, such as user:alice topic:builds")
    try:
        tags = parse_audience(text_of_tags)
    except InvalidInput as refused:
        raise rule(refused.problem, refused.fix) from None
    if not tags:
        raise rule("it names nobody", "name somebody, such as user:alice")
    return audience_text(tags)


def _check_user(value: str) -> str:
    try:
        user_tag(value)
    except InvalidInput as refused:
        raise rule(refused.problem, "name a user as their token does in sub, without 'user:'") from None
    return value


def _check_percent(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise rule("it is no number from 0 to 100", "tell it in per cent")
    return value


def _check_reason(value: Json) -> Json:
    if not isinstance(value, str | dict):
        raise rule("it is neither a string nor an object", "say why in a sentence, or as an object")
    return value


# Checked by functions of ours instead of unions and numbers of pydantic's: they keep what was sent, and
# name the parameter alone where pydantic would name each type that it is not.
_TAGS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}

Name = Annotated[str, text(MAX_SHORT_BYTES)]
Line = Annotated[str, text(MAX_LONG_BYTES)]
User = Annotated[str, AfterValidator(_check_user)]
Audience = Annotated[
    str,
    BeforeValidator(_check_audience),
    WithJsonSchema(_TAGS),
    Field(description="Who may see it: tags, in a list or separated by spaces, such as user:alice topic:builds"),
]
Percent = Annotated[Json, AfterValidator(_check_percent), WithJsonSchema(_PERCENT), Field(description="Per cent")]
Reason = Annotated[
    Json,
    AfterValidator(_check_reason),
    WithJsonSchema({"type": ["string", "object"]}),
    Field(description="Why, as a sentence or an object"),
]


class Params(BaseModel):
    """What a method takes, by name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Model = TypeVar("Model", bound=Params)


class Publishing(Params, ABC):
    """What a method takes that publishes one event."""

    type_of_event: ClassVar[str]

    source: Annotated[Long, Field(description="Who says so; the producer's own where it is left out")] | None = None
    idempotency_key: (
        Annotated[Name, Field(description="The same key again is the same event, however often it is sent")] | None
    ) = None

    @abstractmethod
    def event(self) -> dict[str, Any]:
        """What the parameters say of it."""

    def attributes(self) -> dict[str, Any]:
        """The event's, but for what its producer may leave out."""
        return self.event() | ({"source": self.source} if self.source is not None else {})


def names_of(model: type[Params]) -> list[str]:
    """Its parameters, those first that must be there."""
    fields = model.model_fields
    return sorted(fields, key=lambda name: not fields[name].is_required())


def checked(model: type[Model], params: dict[str, Any] | list[Any] | None) -> Model:
    """The parameters as the method takes them. Raises `Fault`."""
    if isinstance(params, list):
        raise _invalid("params", "they are an array", "send them by name: this method has no order")
    # Before what is missing: it may be what was meant.
    if unknown := [name for name in params or {} if name not in model.model_fields]:
        fix = f"this method takes {', '.join(names_of(model)) or 'none'}"
        raise _invalid(unknown[0], "there is no such parameter", fix)
    try:
        return model.model_validate(params or {})
    except ValidationError as refused:
        raise _fault(flaw_of(refused)) from None


def _fault(flaw: Flaw) -> Fault:
    problem = "it is missing" if flaw.kind == "missing" else flaw.problem
    return _invalid(".".join(flaw.where) or "params", problem, flaw.fix or "rpc.discover tells what it should be")


def _invalid(field: str, problem: str, fix: str) -> Fault:
    # Names are the caller's, of any length.
    return Fault(Code.INVALID_PARAMS, problem, field=field[:MAX_FIELD_CHARS], fix=fix)
