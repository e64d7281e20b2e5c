"""Who may see what: the tags of a connection, from its session and from what it asks for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from shared.model.errors import InvalidInput
from shared.model.patterns import is_pattern, matcher
from shared.model.tags import checked_tag

TOPIC = "topic:"

# Bindings of one connection; a page that follows more topics than this follows a wider one.
MAX_ASKED_TOPICS = 50
MAX_TYPE_PATTERNS = 50
MAX_PATTERN_CHARS = 255


class NotGranted(InvalidInput):
    """The session may not see a topic that it asks for."""

    reason = "not-granted"


def is_granted(tag: str, grants: Iterable[str]) -> bool:
    """Whether one of the grants, exact or a pattern, covers the tag."""
    return any(matcher(grant).fullmatch(tag) for grant in grants)


def may_see(own: Collection[str], grants: Collection[str], audience: Iterable[str]) -> bool:
    """Whether some connection of a session with these tags and grants could be shown an event of this audience."""
    return any(tag in own or is_granted(tag, grants) for tag in audience)


def connection_tags(own: Collection[str], grants: Collection[str], asked: Collection[str] | None) -> frozenset[str]:
    """The tags of one connection.

    Args:
        own: what every session has: its user, itself, everyone.
        grants: tags granted beyond that, exact or patterns.
        asked: the topics that the connection asks for, without `topic:`; None for all exact grants.

    Raises `NotGranted`, naming every topic that is refused.
    """
    if asked is None:
        return frozenset(own).union(grant for grant in grants if not is_pattern(grant))
    tags = [checked_tag(f"{TOPIC}{topic}") for topic in asked]
    refused = [tag.removeprefix(TOPIC) for tag in tags if is_pattern(tag) or not is_granted(tag, grants)]
    if refused:
        raise NotGranted(
            "topics", f"not granted: {', '.join(refused)[:500]}", "ask for topics that the session may see"
        )
    # Asking narrows the topics; what is granted besides topics stays.
    others = (grant for grant in grants if not grant.startswith(TOPIC) and not is_pattern(grant))
    return frozenset(own).union(tags, others)


def parse_list(name: str, text: str, limit: int) -> tuple[str, ...]:
    """`a,b,c` -> its distinct items. Raises `InvalidInput` for an empty item, or more than `limit`."""
    items = tuple(dict.fromkeys(item.strip() for item in text.split(",")))
    if not all(items):
        raise InvalidInput(name, "it holds an empty item", "separate the items by single commas")
    if len(items) > limit:
        raise InvalidInput(name, f"{len(items)} items", f"give at most {limit}")
    return items


class TypeFilter:
    """Which event types a connection wants: exact ones, and patterns such as `order.*`."""

    def __init__(self, patterns: Collection[str]) -> None:
        for pattern in patterns:
            if len(pattern) > MAX_PATTERN_CHARS:
                raise InvalidInput(
                    "types", f"{pattern[:40]!r}… is too long", f"use at most {MAX_PATTERN_CHARS} characters"
                )
        self._exact = frozenset(pattern for pattern in patterns if not is_pattern(pattern))
        self._patterns = tuple(matcher(pattern) for pattern in patterns if is_pattern(pattern))

    def wants(self, type_: str) -> bool:
        return type_ in self._exact or any(pattern.fullmatch(type_) for pattern in self._patterns)
