"""Expressions of rules: what they say, what is refused at load, and that none of them runs away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.rules.expression import FUNCTIONS, compiled, needed
from services.ingest.rules.steps import MAX_STEPS_PER_RULE, Steps, TooMuchWork
from services.ingest.rules.wrong import Failed, Wrong

DATA = {
    "action": "opened",
    "draft": False,
    "count": 3,
    "labels": [{"name": "bug"}, {"name": "ui"}],
    "user": {"login": "octo"},
    "empty": [],
    "null": None,
}
EVENT: dict[str, Any] = {"type": "issue.opened", "source": "/s", "subject": None, "data": DATA}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data.action == 'opened'", True),
        ("data.action == 'opened' && !(data.draft)", True),
        ("data.action != 'opened' || data.count > `2`", True),
        ("contains(data.labels[].name, 'bug')", True),
        ("data.labels[?name == 'bug']", True),
        ("data.labels[?name == 'none']", False),
        ("length(data.labels) == `2`", True),
        ("starts_with(type, 'issue.')", True),
        ("data.user", True),
        ("subject", False),
        ("data.nothing.at.all", False),
        ("data.empty", False),
        ("data.null", False),
        ("data.labels[-1].name == 'ui'", True),
        ("data.labels[0:1] | [0].name == 'bug'", True),
        ("not_null(data.nothing, data.user.login) == 'octo'", True),
        ("data.count == `true`", False),
        ("data.labels == `[]`", False),
        ('data.action == `"opened"`', True),
        ("data.action == '`opened`'", False),
        ("data.user.login != data.action", True),
    ],
)
def test_a_condition(text: str, holds: bool) -> None:
    assert compiled(text).holds(EVENT, Steps(1000)) is holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("contains(data.nothing, 'x')", "contains() takes array or string, and got null"),
        ("data.count < 'x'", "'<' not supported between instances of 'int' and 'str'"),
        ("data.labels == data.empty", "a list or an object of the event with another"),
        ("sum(data.labels)", "sum() takes"),
    ],
)
def test_what_has_no_value_says_why_and_shows_no_data(text: str, why: str) -> None:
    with pytest.raises(Failed) as failed:
        compiled(text).value(EVENT, Steps(1000))
    assert why in str(failed.value)
    assert "octo" not in str(failed.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("data..a", "'.' at character 6"),
        ("'open", "at character 1"),
        ("dat.action", "an event has no 'dat'"),
        ("data.a && contains(labels, 'x')", "an event has no 'labels'"),
        ("data.[a, b]", "[a, b] is not part of rules"),
        ("data.{a: b}", "{a: b} is not part of rules"),
        ("data[].{a: b}", "{a: b} is not part of rules"),
        ("sort_by(data, &a)", "no function sort_by()"),
        ("max_by(data, &a)", "no function max_by()"),
        ("to_string(data)", "no function to_string()"),
        ("contains(data)", "contains() is given 1 values"),
        ("data.action == 'opened' && !data.draft", "`!` belongs to the first name only"),
        ("data.count > `1x`", "has no quotes"),
        ("data.action == `opened`", "has no quotes"),
        ("!data[].a", "`!` belongs to the first name only"),
        ("!data[?a]", "`!` belongs to the first name only"),
        ("not_null()", "not_null() is given 0 values"),
        ("(" * 900 + "data", "nested too deeply"),
        ("!" * 900 + "data", "nested too deeply"),
        ("data" + "|[0]" * 150, "nested too deeply"),
        ("data.a || " * 200 + "data.b", "characters"),
    ],
)
def test_what_can_never_hold_is_refused_at_load(text: str, problem: str) -> None:
    with pytest.raises(Wrong) as refused:
        compiled(text)
    assert problem in refused.value.problem
    assert refused.value.fix


HOSTILE = {"data": {"list": [{"a": [1] * 5}] * 40_000, "text": "x" * 200_000, "numbers": [1] * 100_000}}


@pytest.mark.parametrize(
    "text",
    [
        "data.list[?a]",
        "data.list[].a[]",
        "data.list[*].a | [] | [] | []",
        "contains(data.numbers, `2`)",
        "sum(data.numbers) > `1`",
        "max(data.numbers)",
        " || ".join(["data.list[?b]"] * 55),
        " && ".join(["length(data.numbers)"] * 40),
    ],
)
def test_what_costs_too_much_is_stopped(text: str) -> None:
    expression, began = compiled(text), time.process_time()
    with pytest.raises(TooMuchWork):
        expression.holds(HOSTILE, Steps(MAX_STEPS_PER_RULE))
    # Some 10 ms here; the bound is for a machine that does other things, too. Without it: seconds.
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("data.a.b == 'x' && source == 'y' && data.n > `1`", {"data.a.b": {"x"}, "source": {"y"}}),
        ("data.n == `1` && data.on == `true`", {"data.n": {1}, "data.on": {True}}),
        ("data.none == `null`", {"data.none": {None}}),
        ("data.a == 'x' || data.a == 'y' || data.a == 'z'", {"data.a": {"x", "y", "z"}}),
        ("(data.a == 'x' && data.b == 'y') || data.a == 'z'", {"data.a": {"x", "z"}}),
        ("data.a == 'x' || data.b == 'y'", {}),
        ("data.a == 'x' || data.c", {}),
        ("!(data.a == 'x')", {}),
        ("data.a != 'x'", {}),
        ("data.a == `[1]`", {}),
        ("data.a[0] == 'x'", {}),
        ("data.a == data.b", {}),
    ],
)  # fmt: skip
def test_what_must_be_equal_is_known_for_the_index(text: str, values: dict[str, set[Any]]) -> None:
    assert {".".join(path): set(found) for path, found in needed(compiled(text)).items()} == values


names = st.sampled_from(["data", "data.a", "data.list", "type", "data.list[]", "data.list[*].a", 'data."x y"'])
values = st.sampled_from(["`1`", "'x'", "`[1]`", "`null`", "@"])
atoms = names | values
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||", "==", "<", ">=", "|", "!="]), inner).map(" ".join),
        inner.map("!({})".format),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), inner).map(lambda both: f"{both[0]}({both[1]})"),
        st.tuples(inner, inner).map(lambda both: f"contains({both[0]}, {both[1]})"),
        st.tuples(names, inner).map(lambda both: f"{both[0]}[?{both[1]}]"),
    ),
    max_leaves=8,
)
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "list", "x y"]), inner),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None)
@given(text=expressions | st.text(max_size=30), data=json)
def test_any_expression_over_any_data_is_true_or_false_or_says_why(text: str, data: Any) -> None:
    said = ""
    try:
        assert compiled(text).holds({"type": "t", "data": data}, Steps(MAX_STEPS_PER_RULE)) in (True, False)
    except Wrong as refused:
        said = refused.problem and refused.fix
    except Failed as failed:
        said = str(failed)
    else:
        return
    assert said
