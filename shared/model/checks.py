"""Checks that models share, and what their refusals say: which field, what was wrong, what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import AfterValidator, ValidationError
from pydantic_core import PydanticCustomError

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def rule(problem: str, fix: str) -> PydanticCustomError:
    """What a validator raises, for `flaw_of` to find again."""
    return PydanticCustomError("rule", "{problem}\0{fix}", {"problem": problem, "fix": fix})


def text(limit_bytes: int) -> AfterValidator:
    """A non-empty string without control characters: it may become an SSE field or an AMQP header."""

    def check(value: str) -> str:
        if not value:
            raise rule("it is empty", "give it a value, or leave an optional attribute out")
        if found := CONTROL_CHARACTER.search(value):
            raise rule(f"it holds the control character U+{ord(found[0]):04X}", "remove it")
        if len(value.encode()) > limit_bytes:
            raise rule(f"it is longer than {limit_bytes} bytes", "shorten it")
        return value

    return AfterValidator(check)


@dataclass(frozen=True, slots=True)
class Flaw:
    """The first thing that is wrong with a model's input."""

    where: tuple[str, ...]
    """Names and indexes from the outside in; empty where it is the whole."""
    kind: str
    """`rule` for one of ours, otherwise pydantic's name for it, such as `missing`."""
    problem: str
    fix: str
    """Empty where only pydantic speaks."""
    found: Any


def flaw_of(refused: ValidationError) -> Flaw:
    """What a refusal comes down to."""
    first = refused.errors(include_url=False, include_input=True)[0]
    problem, _, fix = first["msg"].partition("\0")
    return Flaw(tuple(map(str, first["loc"])), first["type"], problem, fix, first["input"])
