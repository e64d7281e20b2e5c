"""Who sees what: grants as a table, and promise 4 as a property over random audiences and sessions."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.grants import NotGranted, TypeFilter, connection_tags, is_granted, parse_list
from shared.model.errors import InvalidInput

OWN = frozenset({"user:alice", "session:s", "everyone"})


@pytest.mark.parametrize(
    ("grants", "asked", "topics"),
    [
        ((), None, set()),
        (("topic:a", "topic:b"), None, {"topic:a", "topic:b"}),
        (("topic:a", "topic:builds/*"), None, {"topic:a"}),
        (("topic:a", "topic:b"), ("a",), {"topic:a"}),
        (("topic:builds/*",), ("builds/main", "builds/x/y"), {"topic:builds/main", "topic:builds/x/y"}),
        (("topic:*",), ("anything",), {"topic:anything"}),
    ],
)
def test_topics(grants: tuple[str, ...], asked: tuple[str, ...] | None, topics: set[str]) -> None:
    assert connection_tags(OWN, grants, asked) == OWN | topics


@pytest.mark.parametrize(
    ("grants", "asked", "refused"),
    [
        ((), ("a",), "a"),
        (("topic:a",), ("a", "b", "c"), "b, c"),
        (("topic:builds/*",), ("builds",), "builds"),
        (("topic:builds/*",), ("builds/*",), "builds/*"),
        (("topic:*",), ("*",), "*"),
        (("user:*",), ("alice",), "alice"),
    ],
)
def test_what_is_not_granted_is_named(grants: tuple[str, ...], asked: tuple[str, ...], refused: str) -> None:
    with pytest.raises(NotGranted, match=r"not granted: ") as error:
        connection_tags(OWN, grants, asked)
    assert error.value.problem == f"not granted: {refused}"


def test_asking_narrows_topics_and_nothing_else() -> None:
    assert connection_tags(OWN, ("topic:a", "topic:b", "user:team"), ("a",)) == OWN | {"topic:a", "user:team"}


NAMES = st.sampled_from(["a", "b", "builds/main", "builds/x", "c*d"])
GRANTS = st.sampled_from(["topic:a", "topic:b", "topic:builds/*", "topic:*", "user:bob", "topic:c*"])


@given(st.sets(GRANTS), st.none() | st.lists(NAMES, min_size=1, unique=True))
def test_no_connection_has_a_tag_that_its_session_does_not_grant(grants: set[str], asked: list[str] | None) -> None:
    try:
        tags = connection_tags(OWN, sorted(grants), asked)
    except NotGranted:
        assert asked
        return
    for tag in tags - OWN:
        assert is_granted(tag, grants)
        assert "*" not in tag


@given(st.text("ab*.", max_size=8), st.text("ab.", max_size=8))
def test_patterns_match_as_shell_globs_do(pattern: str, text: str) -> None:
    assert is_granted(text, [pattern]) == fnmatch.fnmatchcase(text, pattern)


def test_no_pattern_is_slow() -> None:
    """A pattern that backtracks would take longer than the universe has."""
    assert not is_granted("a" * 2000, ["*a" * 100 + "b"])


def test_type_filters() -> None:
    types = TypeFilter(("order.*", "job.done"))
    assert [name for name in ("order.created", "order.", "order", "job.done", "job.done2") if types.wants(name)] == [
        "order.created",
        "order.",
        "job.done",
    ]


@pytest.mark.parametrize("text", ["", ",", "a,", "a,,b", ",".join("abc")])
def test_lists(text: str) -> None:
    if text == "a,b,c":
        assert parse_list("topics", text, 3) == ("a", "b", "c")
        with pytest.raises(InvalidInput, match="at most 2"):
            parse_list("topics", text, 2)
    else:
        with pytest.raises(InvalidInput, match="empty"):
            parse_list("topics", text, 3)
