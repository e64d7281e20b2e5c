"""Who a rule addresses for one event: its entries filled in, and held to what a tag may be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from services.ingest.rules.rule import Recipients
from services.ingest.rules.scope import Scope
from services.ingest.rules.steps import Steps, TooMuchWork
from services.ingest.rules.troubles import Troubles
from services.ingest.rules.wrong import Failed, Nobody
from shared.model.errors import InvalidInput
from shared.model.tags import MAX_TAG_BYTES, checked_tag, is_internal

# A list in an event may be as long as its sender likes.
MAX_ITEMS = 500
# Of one rule for one event; more of them are a topic.
MAX_TAGS_PER_RULE = 1000
# Its notification must fit the size limit of an event.
MAX_TAG_BYTES_PER_RULE = 32 * 1024


@dataclass(frozen=True, slots=True)
class Granted:
    """A tag that a rule adds to an audience."""

    tag: str
    by: str
    """The entry that it comes from, as it is written."""


def granted(
    audience: Iterable[Recipients], exceptions: Iterable[Recipients], scope: Scope, steps: Steps, troubles: Troubles
) -> tuple[Granted, ...]:
    """The distinct tags of the entries without those of the exceptions; what is no tag is left out and told.

    Raises `TooMuchWork`.
    """
    except_ = {grant.tag for entry in exceptions for grant in _tags(entry, scope, steps, troubles)}
    found = {grant.tag: grant for entry in audience for grant in _tags(entry, scope, steps, troubles)}
    return tuple(_within_bounds([grant for tag, grant in found.items() if tag not in except_], troubles))


def _within_bounds(grants: list[Granted], troubles: Troubles) -> Iterator[Granted]:
    size_bytes = 0
    for number, grant in enumerate(grants):
        size_bytes += len(grant.tag.encode()) + 1
        if number >= MAX_TAGS_PER_RULE or size_bytes > MAX_TAG_BYTES_PER_RULE:
            troubles.refuse_tags(len(grants) - number, "audience: too many for one rule; address a topic instead")
            return
        yield grant


def _tags(entry: Recipients, scope: Scope, steps: Steps, troubles: Troubles) -> Iterator[Granted]:
    for each in _scopes(entry, scope, steps, troubles):
        if (tag := _tag(entry, each, steps, troubles)) is not None:
            yield Granted(tag, str(entry))


def _scopes(entry: Recipients, scope: Scope, steps: Steps, troubles: Troubles) -> Iterable[Scope]:
    """What the entry's template is filled in with: once, or once for each item of its list."""
    if entry.each is None:
        return (scope,)
    try:
        items = _as_list(entry.each.value(scope.names, steps))
    except TooMuchWork:
        raise
    except Failed as failed:
        troubles.tell(f"audience: {entry}: {failed}")
        return ()
    if len(items) > MAX_ITEMS:
        troubles.refuse_tags(
            len(items) - MAX_ITEMS, f"audience: {entry}: {len(items)} items, of which {MAX_ITEMS} count"
        )
    return map(scope.with_item, items[:MAX_ITEMS])


def _as_list(value: Any) -> list[Any]:
    """One value is a list of one; nothing is an empty one."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _tag(entry: Recipients, scope: Scope, steps: Steps, troubles: Troubles) -> str | None:
    try:
        text, is_cut = entry.tag.filled(scope, steps, MAX_TAG_BYTES)
        if is_cut:
            raise Failed(f"the tag is longer than {MAX_TAG_BYTES} bytes")
        return _lawful(text)
    except TooMuchWork:
        raise
    except Nobody as nobody:
        troubles.note(f"audience: {entry}: {nobody}")
        return None
    except Failed as failed:
        troubles.refuse_tags(1, f"audience: {entry}: {failed}")
        return None


def _lawful(tag: str) -> str:
    """A template's kind is written out, so a control tag cannot be made; this is the second wall."""
    try:
        checked_tag(tag)
    except InvalidInput as refused:
        raise Failed(refused.problem) from None
    if is_internal(tag):
        raise Failed("control tags are for Carillon's own events")
    return tag
