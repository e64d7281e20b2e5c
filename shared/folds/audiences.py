"""Who may see a stream, whose events may have different audiences.

To each session a stream looks as if it held only the events that the session may see. Nearly always
that is all of them, or none, and this module tells which.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

# Streams whose events have more different audiences, or more tags in them, are folded for each reader anew.
MAX_AUDIENCES = 16
MAX_TAGS = 2000


class Sight(Enum):
    """How much of a stream a session sees."""

    WHOLE = auto()
    """Each of its events."""
    PART = auto()
    """Perhaps some of them: only the events themselves can tell."""
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Audiences:
    """The audiences of a stream's events, as far as they matter."""

    narrowest: tuple[tuple[str, ...], ...] = ()
    """Whoever is in each of these sees all. What holds all tags of another one is left out."""
    are_all: bool = True
    """Whether no audience was left out: who is in none of `narrowest` may be in one of those."""
    are_too_many: bool = False

    def with_audience(self, tags: Sequence[str]) -> Audiences:
        """The same with one more event's."""
        if self.narrowest and self.narrowest[0] == tags:
            return self
        added = set(tags)
        if any(added.issuperset(one) for one in self.narrowest):
            is_new = added not in map(set, self.narrowest)
            return Audiences(self.narrowest, self.are_all and not is_new, self.are_too_many)
        kept = tuple(one for one in self.narrowest if not added.issubset(one))
        are_all = self.are_all and len(kept) == len(self.narrowest)
        if len(kept) >= MAX_AUDIENCES or sum(map(len, kept)) + len(tags) > MAX_TAGS:
            return Audiences(self.narrowest, False, True)
        return Audiences((*kept, tuple(tags)), are_all, self.are_too_many)

    def sight(self, tags: Collection[str]) -> Sight:
        """How much a session with these tags sees."""
        met = [not set(tags).isdisjoint(one) for one in self.narrowest]
        if met and all(met) and not self.are_too_many:
            return Sight.WHOLE
        return Sight.PART if any(met) or not self.are_all else Sight.NOTHING
