"""One type of events, and whether an event of it is as it says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jsonschema_rs import Draft202012Validator, ValidationError

from shared.model.event import Event

Schema = dict[str, Any]
"""A JSON Schema, 2020-12."""
Validation = Literal["off", "warn", "enforce"]
VALIDATIONS: tuple[Validation, ...] = ("off", "warn", "enforce")
# A message names members of the data, which may be long.
MAX_PROBLEM_CHARS = 300


@dataclass(frozen=True, slots=True)
class Breach:
    """How an event's data breaks the schema of its type."""

    field: str
    """Where: `data`, or `data/steps/build/status`."""
    problem: str
    """What the schema says of it; no value of the data is in it."""


@dataclass(frozen=True, slots=True)
class EventType:
    """A type with the JSON Schema of its data."""

    name: str
    schema: Schema
    validation: Validation
    validator: Draft202012Validator
    is_ours: bool
    """Whether it comes with Carillon."""

    @property
    def title(self) -> str:
        """What it is called; its name where it has no title."""
        return str(self.schema.get("title") or self.name)

    @property
    def description(self) -> str:
        return str(self.schema.get("description") or "")

    def breach(self, event: Event) -> Breach | None:
        """The first one of the event's data, or None. An event without JSON data has null."""
        try:
            self.validator.validate(event.data)
        except ValidationError as refused:
            path = "/".join(map(str, ("data", *refused.instance_path)))
            problem = "it is missing, or not JSON" if event.data is None else refused.message
            return Breach(path[:MAX_PROBLEM_CHARS], problem[:MAX_PROBLEM_CHARS])
        return None
