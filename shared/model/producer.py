"""Producers: who publishes, and what they may say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.model.errors import OutOfScope
from shared.model.event import Event
from shared.model.patterns import WILDCARD, matcher

ANYTHING = (WILDCARD,)

PUBLISH_CLAIM = "carillon_publish"
"""What a token must say to be a producer's, and what no user's token says."""


@dataclass(frozen=True, slots=True)
class Producer:
    """One that is known, by whatever door it came."""

    name: str
    sources: tuple[str, ...] = ANYTHING
    """Patterns of the sources that it may name."""
    types: tuple[str, ...] = ANYTHING
    """Patterns of the types that it may publish."""

    def check(self, event: Event) -> None:
        """Raises `OutOfScope`, naming the attribute, for what this producer may not publish."""
        for field, value, patterns in (("source", event.source, self.sources), ("type", event.type, self.types)):
            if not _is_covered(value, patterns):
                problem = f"the producer {self.name!r} may not publish {value[:80]!r}"
                raise OutOfScope(field, problem, f"use one of {', '.join(patterns)[:200]}")


def _is_covered(value: str, patterns: Iterable[str]) -> bool:
    return any(pattern == WILDCARD or matcher(pattern).fullmatch(value) for pattern in patterns)
