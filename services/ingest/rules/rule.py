"""One rule, as it was checked at load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.ingest.parts import Place
from services.ingest.rules.expression import Expression
from services.ingest.rules.templates import Template
from shared.model.patterns import is_pattern, matcher


class Patterns:
    """Exact texts, and patterns with `*`."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.exact = frozenset(text for text in texts if not is_pattern(text))
        self.patterns = tuple(text for text in texts if is_pattern(text))
        self._matchers = tuple(map(matcher, self.patterns))

    def __bool__(self) -> bool:
        return bool(self.exact or self.patterns)

    def fit(self, text: str) -> bool:
        """Whether one of them stands for the text."""
        return text in self.exact or any(each.fullmatch(text) for each in self._matchers)


@dataclass(frozen=True, slots=True)
class Recipients:
    """An entry of an audience: a tag, or one for each item of a list."""

    tag: Template
    each: Expression | None = None

    def __str__(self) -> str:
        return f"{self.tag.text} for each {self.each.text}" if self.each else self.tag.text


@dataclass(frozen=True, slots=True)
class Notice:
    """What a rule says to its audience."""

    title: Template
    body: Template | None = None
    link: Template | None = None
    level: Template | None = None
    topic: Template | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Turns the events that it matches into an audience, and where wanted a notification."""

    name: str
    place: Place
    types: Patterns
    sources: Patterns
    """Empty for any; so are subjects."""
    subjects: Patterns
    when: Expression | None = None
    audience: tuple[Recipients, ...] = ()
    """Empty where the rule only notifies whoever the event is for anyway."""
    exceptions: tuple[Recipients, ...] = ()
    notice: Notice | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a file declares: its rules, the shipped ones that it uses, and who is who."""

    rules: tuple[Rule, ...] = ()
    uses: tuple[Use, ...] = ()
    people: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """A shipped rule set by its name, and which of its rules are left out."""

    name: str
    place: Place
    without: tuple[str, ...] = ()
