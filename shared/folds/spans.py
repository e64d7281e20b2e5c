"""Spans of positions: sorted, apart from each other, both ends included. Pure.

What a user has read is a set of positions among millions; as spans it is as long as the list of what
they have not read, and "all up to here" is one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]
Spans = tuple[Span, ...]


def with_span(spans: Sequence[Span], first: int, last: int) -> Spans:
    """The spans with every position from `first` to `last` in them."""
    if first > last:
        return tuple(spans)
    before = [span for span in spans if span[1] < first - 1]
    after = [span for span in spans if span[0] > last + 1]
    touched = spans[len(before) : len(spans) - len(after)]
    if touched:
        first, last = min(first, touched[0][0]), max(last, touched[-1][1])
    return (*before, (first, last), *after)


def without_span(spans: Sequence[Span], first: int, last: int) -> Spans:
    """The spans with no position from `first` to `last` in them."""
    if first > last:
        return tuple(spans)
    return tuple(part for span in spans for part in _left(span, first, last))


def _left(span: Span, first: int, last: int) -> Iterator[Span]:
    if span[0] < first:
        yield span[0], min(span[1], first - 1)
    if span[1] > last:
        yield max(span[0], last + 1), span[1]


def united(*several: Iterable[Span]) -> Spans:
    """Every position that is in one of them."""
    found: Spans = ()
    for span in sorted(span for spans in several for span in spans):
        found = with_span(found, *span)
    return found


def holds(spans: Iterable[Span], position: int) -> bool:
    """Whether the position is in one of the spans."""
    return any(first <= position <= last for first, last in spans)


def gaps(spans: Sequence[Span], first: int, last: int) -> Iterator[Span]:
    """What of `first` to `last` is in no span, from the highest position down."""
    for low, high in reversed(spans):
        if high < last and last >= first:
            yield max(first, high + 1), last
        last = min(last, low - 1)
    if first <= last:
        yield first, last


def at_most(spans: Sequence[Span], count: int) -> Spans:
    """No more spans than `count`: the lowest become one, with what lay between them."""
    if len(spans) <= count:
        return tuple(spans)
    joined = spans[: len(spans) - count + 1]
    return ((joined[0][0], joined[-1][1]), *spans[len(joined) :])
