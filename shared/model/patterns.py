"""Patterns with `*`, as grants, event types and sources are named by them."""

from __future__ import annotations

import re
from functools import lru_cache

WILDCARD = "*"


def is_pattern(text: str) -> bool:
    """Whether the text stands for many, such as `order.*`."""
    return WILDCARD in text


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> re.Pattern[str]:
    """`*` stands for any text, also none; the rest for itself. To be used with `fullmatch`.

    Runs of `*` are one, and each is lazy up to the literal that follows, so that no pattern takes
    longer than its length times that of the text.
    """
    parts = re.split(r"\*+", pattern)
    first, *rest = map(re.escape, parts)
    if not rest:
        return re.compile(first)
    *middle, last = rest
    # Atomic groups (Python 3.11) forbid backtracking into an earlier `*`: the leftmost match is enough.
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last, re.DOTALL)
