"""Spans of positions: sorted, apart from each other, both ends included. Pure.

What a user has read is a set of positions among millions; as spans it is as long as the list of what
they have not read, and "all up to here" is one of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]
Spans = tuple[Span, ...]


def with_span(spans: Sequence[Span], first: int, last: int) -> Spans:
    """The spans with every position from `first` to `last` in them."""
    if first > last:
        return tuple(spans)
    begin, end = _touching(spans, first - 1, last + 1)
    if begin < end:
        first, last = min(first, spans[begin][0]), max(last, spans[end - 1][1])
    return (*spans[:begin], (first, last), *spans[end:])


def without_span(spans: Sequence[Span], first: int, last: int) -> Spans:
    """The spans with no position from `first` to `last` in them."""
    if first > last:
        return tuple(spans)
    begin, end = _touching(spans, first, last)
    left = (part for span in spans[begin:end] for part in _left(span, first, last))
    return (*spans[:begin], *left, *spans[end:])


def _touching(spans: Sequence[Span], first: int, last: int) -> tuple[int, int]:
    """Which of the spans hold a position from `first` to `last`, as a slice."""
    return bisect_left(spans, first, key=_end), bisect_right(spans, last, key=_begin)


def _begin(span: Span) -> int:
    return span[0]


def _end(span: Span) -> int:
    return span[1]


def _left(span: Span, first: int, last: int) -> Iterator[Span]:
    if span[0] < first:
        yield span[0], min(span[1], first - 1)
    if span[1] > last:
        yield max(span[0], last + 1), span[1]


def united(*several: Iterable[Span]) -> Spans:
    """Every position that is in one of them."""
    found: list[Span] = []
    for first, last in sorted(span for spans in several for span in spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


def holds(spans: Sequence[Span], position: int) -> bool:
    """Whether the position is in one of the spans."""
    begin, end = _touching(spans, position, position)
    return begin < end


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
