"""Finds the rules that an event may concern, without looking at all of them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from services.ingest.rules.expression import SCALAR, Path, Scalar, needed
from services.ingest.rules.rule import Rule
from services.ingest.rules.scope import Scope
from shared.model.patterns import WILDCARD

Numbered = tuple[int, Rule]


class Index:
    """By exact type and source, or by what a pattern of types begins with; and in there by one value of the data.

    So a thousand rules cost an event some look-ups, whether they differ in their types (`order.created`), in
    their sources, or in what they compare: `data.repository.full_name == 'acme/site'`.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._exact: dict[tuple[str, str | None], _Bucket] = defaultdict(_Bucket)
        self._begun: dict[str, _Bucket] = defaultdict(_Bucket)
        for number, rule in enumerate(rules):
            self._add(number, rule)

    def _add(self, number: int, rule: Rule) -> None:
        # Who takes a pattern of sources, or any, is found by the type alone.
        sources = (None,) if rule.sources.patterns or not rule.sources else tuple(rule.sources.exact)
        for type_ in rule.types.exact:
            for source in sources:
                self._exact[type_, source].add(number, rule)
        for pattern in rule.types.patterns:
            self._begun[_beginning(pattern)].add(number, rule)

    def candidates(self, scope: Scope) -> list[Rule]:
        """The rules whose type, source and subject fit, in their order, without some whose condition cannot hold."""
        type_, source, subject = scope.names["type"], scope.names["source"], scope.names["subject"]
        found: dict[int, Rule] = {}
        for bucket in self._buckets(type_, source):
            found.update(bucket.candidates(scope))
        return [found[number] for number in sorted(found) if fits(found[number], type_, source, subject)]

    def _buckets(self, type_: str, source: str) -> Iterator[_Bucket]:
        exact = (self._exact.get(key) for key in ((type_, source), (type_, None)))
        begun = map(self._begun.get, ("", *accumulate(word + "." for word in type_.split("."))))
        return (bucket for bucket in (*exact, *begun) if bucket is not None)


class _Bucket:
    """Rules of one key; those whose condition needs a certain value somewhere wait under it."""

    def __init__(self) -> None:
        self._always: list[Numbered] = []
        self._waiting: dict[Path, dict[Scalar, list[Numbered]]] = {}

    def add(self, number: int, rule: Rule) -> None:
        values = needed(rule.when) if rule.when else {}
        if not values:
            self._always.append((number, rule))
            return
        # Where the fewest wait: all may need `data.action == 'opened'`, and each another repository.
        path = min(values, key=lambda path: self._crowd(path, values[path]))
        for value in values[path]:
            self._waiting.setdefault(path, {}).setdefault(value, []).append((number, rule))

    def _crowd(self, path: Path, values: Iterable[Scalar]) -> int:
        return sum(len(self._waiting.get(path, {}).get(value, ())) for value in values)

    def candidates(self, scope: Scope) -> Iterator[Numbered]:
        yield from self._always
        for path, by_value in self._waiting.items():
            value = _at(path, scope.names)
            # 1, 1.0 and true are one key; the condition itself tells them apart.
            if isinstance(value, SCALAR):
                yield from by_value.get(value, ())


def fits(rule: Rule, type_: str, source: str, subject: str | None) -> bool:
    """Whether the rule's patterns fit, whatever its condition says."""
    return (
        rule.types.fit(type_)
        and (not rule.sources or rule.sources.fit(source))
        and (not rule.subjects or rule.subjects.fit(subject or ""))
    )


def _beginning(pattern: str) -> str:
    """The whole words before the first `*`: `github.pull_request.*` -> `github.pull_request.`"""
    return pattern[: pattern.rfind(".", 0, pattern.index(WILDCARD)) + 1]


def _at(path: Iterable[str], value: Any) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
