"""Templates of rules: what they say, what is refused at load, and that none runs for long or grows large."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.rules.filters import FILTERS, MAX_JOINED, MAX_TEXT_CHARS
from services.ingest.rules.people import People
from services.ingest.rules.scope import Scope
from services.ingest.rules.steps import Steps
from services.ingest.rules.templates import compiled
from services.ingest.rules.wrong import Failed, Wrong

PEOPLE = People({"github": {"octo": "alice", "bot": None}, "closed": {"*": None}, "open": {"*": "support"}})
DATA: dict[str, Any] = {
    "login": "Octo",
    "bot": "bot",
    "sha": "0123456789",
    "n": 3,
    "price": 1999,
    "minus": -5,
    "on": True,
    "null": None,
    "text": " two\nlines ",
    "items": ["a", "b"],
    "labels": [{"name": "bug"}, {"name": "ui"}, {}],
    "many": [str(number) for number in range(100)],
    "long": "x" * 300_000,
    "at": 1700000000,
    "__class__": "a member",
}


def filled(text: str, data: Any = DATA, max_chars: int = 1000, *, in_list: bool = False) -> tuple[str, bool]:
    names = {"type": "t", "data": data, "item": "the item"}
    return compiled(text, in_list=in_list).filled(Scope(names, PEOPLE), Steps(10_000), max_chars)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain", "plain"),
        ("{{ type }}: {{ data.login }}", "t: Octo"),
        ("{{ data['login'] }}{# nobody reads this #}", "Octo"),
        ("{{ data.n }} {{ data.on }}", "3 true"),
        ("{{ data.sha[:7] }} {{ data.items[0] }}{{ data.items[-1] }}", "0123456 ab"),
        ("{{ data.items | join }}", "a, b"),
        ("{{ data.items | length }}", "2"),
        ("{{ data.__class__ }}", "a member"),
        ("{{ data.none | default('other') }}", "other"),
        ("{{ data.null | default('other') }}", "other"),
        ("{{ data.none.of.these | default(data.login) }}", "Octo"),
        ("{{ data.none | default }}", ""),
        ("{% if data.on %}yes{% else %}no{% endif %}", "yes"),
        ("{% if data.none %}yes{% elif data.n == 3 %}three{% endif %}", "three"),
        ("{% if not data.none and data.n > 2 %}both{% endif %}", "both"),
        ("{{ 'a' if data.n < 3 else 'b' }}", "b"),
        ("{{ data.text | trim | upper }}", "TWO\nLINES"),
        ("{{ data.text | first_line | capitalize }}", "Two"),
        ("{{ data.login | lower }}", "octo"),
        ("{{ data.sha | truncate(5) }}", "0123…"),
        ("{{ data.sha | replace('0', '-') | removeprefix('-1') }}", "23456789"),
        ("{{ data.price | money('EUR') }}, {{ 5 | money('jpy') }}", "19.99 EUR, 5 JPY"),
        ("{{ 1234 | money('kwd') }}, {{ data.minus | money('usd') }}", "1.234 KWD, -0.05 USD"),
        ("{{ data.at | date }} {{ '2026-01-31T23:00:00Z' | date }}", "2023-11-14 2026-01-31"),
        ("{{ '2026-01-31T23:00:00-05:00' | date }} {{ '2026-02-01T00:30:00+01:00' | date }}", "2026-02-01 2026-01-31"),
        ("{{ data.login | user('github') }}", "alice"),
        ("{{ 'somebody' | user('github') }}", "somebody"),
        ("{{ 'somebody' | user('nomap') }}", "somebody"),
        ("{{ 'cus_1' | user('open') }}", "support"),
        ("{{ data.labels[:2] | join(' and ', 'name') }}", "bug and ui"),
    ],
)  # fmt: skip
def test_a_template(text: str, said: str) -> None:
    assert filled(text) == (said, False)


def test_a_long_list_is_told_in_part() -> None:
    text, _ = filled("{{ data.many | join(' ') }}")
    assert text.split() == [*map(str, range(MAX_JOINED)), "80", "more"]


def test_an_item_is_known_where_there_is_a_list_only() -> None:
    assert filled("{{ item }}", in_list=True)[0] == "the item"
    with pytest.raises(Wrong, match="there is no 'item' here"):
        compiled("{{ item }}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ data.none }}", "'none' is missing"),
        ("{{ data.none.deeper }}", "'none' is missing"),
        ("{{ data.null }}", "null"),
        ("{{ data.items }}", "a list or an object is no text"),
        ("{{ data.labels | join(', ', 'name') }}", "null"),
        ("{{ data.keys }}", "'keys' is missing"),
        ("{{ data.login.upper }}", "'upper' is missing"),
        ("{{ data.bot | user('github') }}", "nobody here"),
        ("{{ 'x' | user('closed') }}", "nobody here"),
        ("{{ data.n | join }}", "join needs a list, and got a number"),
        ("{{ data.on | length }}", "length needs"),
        ("{{ data.login | money('eur') }}", "money needs a whole number, and got a text"),
        ("{{ data.login | date }}", "date needs"),
        ("{{ true | date }}", "date needs"),
        ("{{ '0001-01-01T00:00:00+01:00' | date }}", "date needs"),
        ("{{ data.price | date | date | money('x') }}", "money needs"),
        ("{{ data.login | truncate('x') }}", "cannot be filled in"),
        ("{{ data.login | replace('', 'x') }}", "a text to look for"),
        ("{% if data.n < 'x' %}{% endif %}", "cannot be filled in"),
    ],
)
def test_what_cannot_be_filled_in_says_why(text: str, why: str) -> None:
    with pytest.raises(Failed) as failed:
        filled(text)
    assert why in str(failed.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ x }}", "there is no 'x' here"),
        ("{{ data.a | nope }}", "there is no filter 'nope'"),
        ("{{ data.a | attr('x') }}", "there is no filter 'attr'"),
        ("{{ data.a | truncate }}", "is given 0 values"),
        ("{{ data.a | upper(1) }}", "is given 1 values"),
        ("{{ data.a | truncate(chars=1) }}", "named values"),
        ("{{ data.a | user }}", "is given 0 values"),
        ("{{ data.a() }}", "call is not part"),
        ("{{ ''.__class__.__mro__() }}", "call is not part"),
        ("{{ 9 ** 9 ** 9 }}", "pow is not part"),
        ("{{ 'x' * 1000000000 }}", "mul is not part"),
        ("{{ data.a + data.b }}", "add is not part"),
        ("{{ data.a ~ data.a }}", "concat is not part"),
        ("{{ -data.a }}", "arithmetic"),
        ("{% for i in data.list %}{{ i }}{% endfor %}", "for is not part"),
        ("{% set x = data %}", "assign is not part"),
        ("{% macro m() %}{% endmacro %}", "macro is not part"),
        ("{% include 'x' %}", "include is not part"),
        ("{% extends 'x' %}", "extends is not part"),
        ("{% block x %}{% endblock %}", "block is not part"),
        ("{% filter upper %}x{% endfilter %}", "filterblock is not part"),
        ("{{ data.a is defined }}", "test is not part"),
        ("{{ [data] }}", "list is not part"),
        ("{{ {'a': data} }}", "dict is not part"),
        ("{{ data.a in data.b }}", "`in` is not part"),
        ("{{ data.a == data.b }}", "both sides"),
        ("{{ 1 < data.a < 3 }}", "comparisons in a row"),
        ("{{ data.a[data.n:] }}", "a slice has numbers only"),
        ("{{ data.", "it is no template"),
        ("{% if data %}", "it is no template"),
        ("{% unknown %}", "it is no template"),
        ("{{ " + "not " * 50 + "data }}", "nested too deeply"),
        ("{{ " + "(" * 1500 + "data" + ")" * 1500 + " }}", "nested too deeply"),
        ("{% if data %}" * 100 + "{% endif %}" * 100, "nested too deeply"),
        ("{{ " + "data." * 40 + "a }}", "nested too deeply"),
        ("x" * 5000, "characters"),
    ],
)  # fmt: skip
def test_what_is_not_part_of_the_language_is_refused_at_load(text: str, problem: str) -> None:
    with pytest.raises(Wrong) as refused:
        compiled(text)
    assert problem in refused.value.problem
    assert refused.value.fix


def test_the_line_inside_a_template_is_told() -> None:
    with pytest.raises(Wrong) as refused:
        compiled("one\ntwo\n{{ x }}")
    assert refused.value.line == 3


def test_output_stops_at_its_limit_however_much_the_event_holds() -> None:
    began = time.process_time()
    text = "{{ data.long | upper | replace('X', 'yyyyyyyyyy') }}" * 70
    assert filled(text, max_chars=200) == ("Y" * 0 + "y" * 200, True)
    assert len(filled("{{ data.long }}", max_chars=MAX_TEXT_CHARS * 2)[0]) == MAX_TEXT_CHARS
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("number", [10**5000, -(10**5000), 1e308, 5e-324], ids=["huge", "negative", "large", "tiny"])
def test_any_number_of_json_is_a_text_or_says_why(number: float) -> None:
    for text in ("{{ data.n }}", "{{ data.n | money('eur') }}", "{{ data.n | date }}", "{{ data.n | truncate(3) }}"):
        with contextlib.suppress(Failed):
            assert len(filled(text, {"n": number})[0]) <= MAX_TEXT_CHARS


paths = st.sampled_from(
    ["data", "data.a", "data.a.b", "data.items[0]", "type", "data['x y']", "data.a[:2]", "1", "'x'"]
)
filters = st.sampled_from(
    [name for name in FILTERS] + ["truncate(3)", "user('github')", "money(data.a)", "default('z')", "join('-', 'a')"]
)  # fmt: skip
outputs = st.tuples(paths, st.lists(filters, max_size=3)).map(lambda both: " | ".join([both[0], *both[1]]))
pieces = st.one_of(
    outputs.map("{{{{ {} }}}}".format),
    outputs.map("{{% if {} %}}yes{{% endif %}}".format),
    st.tuples(outputs, outputs).map(lambda both: f"{{{{ {both[0]} if {both[1]} else 'x' }}}}"),
    st.text(alphabet="ab {}%#'\"|.()\n", max_size=8),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "items", "x y"]), inner),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None)
@given(text=st.lists(pieces, max_size=4).map("".join), data=anything)
def test_any_template_over_any_data_is_a_bounded_text_or_says_why(text: str, data: Any) -> None:
    said = ""
    try:
        assert len(filled(text, data, 50)[0]) <= 50
    except Wrong as refused:
        said = refused.problem and refused.fix and str(max(refused.line, 0) or "")
    except Failed as failed:
        said = str(failed)
    else:
        return
    assert said
