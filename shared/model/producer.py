"""Producers: who publishes, and what they may say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.model.errors import InvalidInput, OutOfScope
from shared.model.event import Event
from shared.model.patterns import WILDCARD, matcher

ANYTHING = (WILDCARD,)

# Looked at for each event; a producer of more kinds than this has a prefix for them.
MAX_PATTERNS = 50
MAX_PATTERN_CHARS = 255

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
    events_per_s: float | None = None
    """How many of them; None where nothing limits it."""

    def check(self, event: Event) -> None:
        """Raises `OutOfScope`, naming the attribute, for what this producer may not publish."""
        for field, value, patterns in (("source", event.source, self.sources), ("type", event.type, self.types)):
            if not _is_covered(value, patterns):
                problem = f"the producer {self.name!r} may not publish {value[:80]!r}"
                raise OutOfScope(field, problem, f"use one of {', '.join(patterns)[:200]}")


def checked_patterns(field: str, found: Any) -> tuple[str, ...]:
    """A producer's patterns, as a file, a token or an option has them. Raises `InvalidInput`, naming `field`."""
    is_good = isinstance(found, list | tuple) and len(found) <= MAX_PATTERNS
    if not is_good or not all(isinstance(one, str) and 0 < len(one) <= MAX_PATTERN_CHARS for one in found):
        fix = f"give at most {MAX_PATTERNS}, such as 'order.*', each of up to {MAX_PATTERN_CHARS} characters"
        raise InvalidInput(field, "it is no list of patterns", fix)
    return tuple(found)


def _is_covered(value: str, patterns: Iterable[str]) -> bool:
    return any(pattern == WILDCARD or matcher(pattern).fullmatch(value) for pattern in patterns)
