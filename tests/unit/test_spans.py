"""Spans against the sets of positions that they stand for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.folds.spans import Spans, at_most, gaps, holds, united, with_span, without_span

POSITIONS = st.integers(1, 30)
ENDS = st.tuples(POSITIONS, POSITIONS)
OPERATIONS = st.lists(st.tuples(st.booleans(), ENDS), max_size=12)


def positions(spans: Spans) -> set[int]:
    return {position for first, last in spans for position in range(first, last + 1)}


def made(operations: list[tuple[bool, tuple[int, int]]]) -> tuple[Spans, set[int]]:
    """Spans, and the set that they should be."""
    spans: Spans = ()
    expected: set[int] = set()
    for adds, (first, last) in operations:
        spans = with_span(spans, first, last) if adds else without_span(spans, first, last)
        between = set(range(first, last + 1))
        expected = expected | between if adds else expected - between
    return spans, expected


@given(OPERATIONS)
def test_they_are_the_set_sorted_and_apart(operations: list[tuple[bool, tuple[int, int]]]) -> None:
    spans, expected = made(operations)
    assert positions(spans) == expected
    assert all(first <= last for first, last in spans)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(spans)), "apart"
    assert [holds(spans, position) for position in range(1, 31)] == [position in expected for position in range(1, 31)]


@given(OPERATIONS, ENDS)
def test_gaps_are_the_rest_from_the_highest_down(
    operations: list[tuple[bool, tuple[int, int]]], ends: tuple[int, int]
) -> None:
    spans, expected = made(operations)
    found = list(gaps(spans, *ends))
    assert positions(tuple(found)) == set(range(ends[0], ends[1] + 1)) - expected
    assert found == sorted(found, reverse=True)


@given(OPERATIONS, OPERATIONS)
def test_united_is_the_union(
    one: list[tuple[bool, tuple[int, int]]], other: list[tuple[bool, tuple[int, int]]]
) -> None:
    assert positions(united(made(one)[0], made(other)[0])) == made(one)[1] | made(other)[1]


@given(OPERATIONS, st.integers(1, 5))
def test_too_many_become_fewer_from_below(operations: list[tuple[bool, tuple[int, int]]], count: int) -> None:
    spans, expected = made(operations)
    fewer = at_most(spans, count)
    assert len(fewer) <= max(count, 0)
    assert positions(fewer) >= expected
    assert fewer[1:] == spans[len(spans) - len(fewer) + 1 :]
