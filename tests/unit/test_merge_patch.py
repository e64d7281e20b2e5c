"""RFC 7396: the table of its appendix A, and the example of its section 3."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.folds.merge_patch import merge_patch

# https://www.rfc-editor.org/rfc/rfc7396#appendix-A
APPENDIX = """
{"a":"b"}            {"a":"c"}                    {"a":"c"}
{"a":"b"}            {"b":"c"}                    {"a":"b","b":"c"}
{"a":"b"}            {"a":null}                   {}
{"a":"b","b":"c"}    {"a":null}                   {"b":"c"}
{"a":["b"]}          {"a":"c"}                    {"a":"c"}
{"a":"c"}            {"a":["b"]}                  {"a":["b"]}
{"a":{"b":"c"}}      {"a":{"b":"d","c":null}}     {"a":{"b":"d"}}
{"a":[{"b":"c"}]}    {"a":[1]}                    {"a":[1]}
["a","b"]            ["c","d"]                    ["c","d"]
{"a":"b"}            ["c"]                        ["c"]
{"a":"foo"}          null                         null
{"a":"foo"}          "bar"                        "bar"
{"e":null}           {"a":1}                      {"e":null,"a":1}
[1,2]                {"a":"b","c":null}           {"a":"b"}
{}                   {"a":{"bb":{"ccc":null}}}    {"a":{"bb":{}}}
"""
ROWS = [tuple(map(json.loads, line.split())) for line in APPENDIX.strip().splitlines()]


@pytest.mark.parametrize(("target", "patch", "result"), ROWS)
def test_appendix(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == result
    assert (target, patch) == before, "neither is changed"


def test_the_example() -> None:
    target = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": None},
        "tags": ["example"],
    }
    assert merge_patch(target, patch) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_patch_that_is_repeated_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
