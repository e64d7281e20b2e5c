"""Rule files: every error has its line; no file does anything but become rules or an error."""

from __future__ import annotations

import re
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingest.parts import MAX_FILE_BYTES, InvalidFile
from services.ingest.rules.declared import declared
from services.ingest.rules.loading import MAX_FILES, load, shipped_names
from shared.model.errors import InvalidInput
from tests.harness.rules import FILE, event, rules_of

GOOD = """
    rules:
      - name: paid
        description: Whoever ordered
        match:
          type: [order.paid, order.refunded]
          source: /shop*
          subject: order/*
          when: data.total > `10`
        audience:
          - user:{{ data.user }}
          - each: data.watchers
            tag: user:{{ item }}
        except: user:root
        notify:
          title: Thank you
          level: success
"""


def test_a_whole_rule() -> None:
    (rule,) = rules_of(GOOD).rules
    assert (rule.name, str(rule.place), rule.description) == ("paid", "rules.yaml:3", "Whoever ordered")
    assert rule.types.exact == {"order.paid", "order.refunded"}
    assert rule.sources.patterns == ("/shop*",)
    assert list(map(str, rule.audience)) == ["user:{{ data.user }}", "user:{{ item }} for each data.watchers"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "the file is empty"),
        ("# nothing", 1, "the file is empty"),
        ("{}", 1, "the file declares nothing"),
        ("- a", 1, "the file is a list"),
        ("rules: []", 1, "rules is an empty list"),
        ("a: 1\nrulez: 2", 1, "the file has no 'a'"),
        ("rules:\n  - name: x\n    mtach: y", 3, "a rule has no 'mtach'"),
        ("rules:\n  - match: {type: a}\n    audience: everyone", 2, "a rule has no name"),
        ("rules:\n  - name: x\n    audience: everyone", 2, "rule x has no match"),
        ("rules:\n  - name: x\n    match: {type: a}", 2, "rule x does nothing"),
        ("rules:\n  - name: X Y\n    match: {type: a}\n    audience: everyone", 2, "'X Y' is no name"),
        ("rules:\n  - name: x\n    match:\n      source: a\n    audience: everyone", 4, "matches no type"),
        ("rules:\n  - name: x\n    match: {type: ''}\n    audience: everyone", 3, "rule x: type is empty"),
        ("rules:\n  - name: x\n    match: {type: []}\n    audience: everyone", 3, "empty list"),
        ("rules:\n  - name: x\n    match: {type: {a: b}}\n    audience: everyone", 3, "type is a mapping"),
        ("rules:\n  - name: x\n    match:\n      type: *\n    audience: everyone", 4, "alias"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: bob", 4, "'bob' does not begin as a tag"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: 'control:bob'", 4, "does not begin as a tag"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: '{{ data.tag }}'", 4, "does not begin as a tag"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: 'user: {{ data.a }}'", 4, "does not begin as a tag"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: 'user:a b'", 4, "'user:a b' is not a tag"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: {{ data.a }}", 4, "a mapping"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: user:{{ dta.a }}", 4, "there is no 'dta' here"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience:\n      - each: data.a", 5, "has no tag"),
        ("rules:\n  - name: x\n    match: {type: a}\n    audience: user:{{ item }}", 4, "there is no 'item' here"),
        ("rules:\n  - name: x\n    match: {type: a, when: 'data.['}\n    audience: everyone", 3, "it is no JMESPath"),
        ("rules:\n  - name: x\n    match: {type: a}\n    notify: {body: b}", 4, "has no title"),
        ("rules:\n  - name: x\n    match: {type: a}\n    notify:\n      title: t\n      level: loud", 6, "no level"),
        ("rules:\n  - name: x\n    match: {type: a}\n    notify:\n      title: |\n        {{ x }}", 6, "'x'"),
        ("rules:\n  - name: x\n    name: y", 3, "a rule has 'name' twice"),
        ("people:\n  github:\n    a: [b]", 3, "the user of a is a list"),
        ("people:\n  github:\n    Octo: a\n    octo: b", 4, "people of github has 'octo' in another case of letters"),
        ("use: nothing", 1, "no rule set 'nothing' is shipped"),
        ("use:\n  - github\n  - github", 3, "used already, at rules.yaml:2"),
        ("use: {set: github, without: x}", 1, "github has no rule 'x'"),
        ("a: &x [1]\nb: *x", 2, "aliases are not used"),
        ("a: &x [*x]", 1, "aliases are not used"),
        ("x:\n\n\ta: b", 3, "it is not YAML"),
        ("rules: 'open\n\n", 2, "while scanning a quoted scalar in line 1"),
        ("a: 1\n---\nb: 2", 2, "it is not YAML"),
        ("a: \x00", 1, "it is not YAML"),
        ("a: \ud800", 1, "it is not YAML"),
        ("[" * 100_000, 1, "nested too deeply"),
        ("\n" + "- " * 100_000, 2, "nested too deeply"),
        ("{a: " * 100_000, 1, "nested too deeply"),
    ],
)  # fmt: skip
def test_an_error_tells_file_line_reason_and_fix(text: str, line: int, problem: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        rules_of(text)
    assert refused.value.field == f"{FILE}:{line}"
    assert problem in refused.value.problem
    assert refused.value.fix


def test_a_name_is_there_once_over_all_files() -> None:
    with pytest.raises(InvalidFile, match=r"^2\.yaml:3: rule paid is there already, at rules\.yaml:3"):
        rules_of(GOOD, GOOD)


def test_no_tag_of_yaml_does_anything() -> None:
    with pytest.raises(InvalidFile):
        rules_of("rules: !!python/object/apply:os.abort []")


def test_later_files_say_who_is_who_and_a_login_has_no_case() -> None:
    first = "people: {github: {octo: alice, mona: null}}\nuse: stripe"
    later = "people: {github: {OCTO: bob}, stripe: {cus_1: carol}}"
    people = rules_of(first, later).people
    assert people.user("github", "Octo") == "bob"
    assert people.user("stripe", "cus_1") == "carol"


# Where rules are


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    for name, rule in (("b.yml", "second"), ("a.yaml", "first")):
        (tmp_path / name).write_text(dedent(GOOD).replace("paid\n", f"{rule}\n", 1))
    (tmp_path / "notes.txt").write_text("no rules")
    (tmp_path / ".hidden.yaml").write_text("no rules")
    assert [rule.name for rule in load(str(tmp_path)).rules] == ["first", "second"]


def test_a_shipped_set_is_named_or_used() -> None:
    assert shipped_names() == ["github", "stripe"]
    named = [rule.name for rule in load("github").rules]
    used = [rule.name for rule in rules_of(f"use: [{{set: github, without: {named[0]}}}]").rules]
    assert used == named[1:]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("latin.yaml", b"rules:\n  # \xe4\n", "latin.yaml:2: it is not UTF-8"),
        ("large.yaml", b"#" * (MAX_FILE_BYTES + 1), "over 1048576 bytes"),
        ("folder", None, "the folder holds no *.yaml"),
        ("nowhere", b"", "it cannot be read: No such file"),
    ],
)
def test_what_is_no_rule_file_is_said(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is None:
        (tmp_path / name).mkdir()
    elif content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidFile) as refused:
        load(str(tmp_path / name))
    assert said in str(refused.value)


def test_a_name_that_can_be_no_file_is_said() -> None:
    for where in ("x" * 5000, "a\0b"):
        with pytest.raises(InvalidFile, match="cannot be read"):
            load(where)


def test_a_folder_has_its_bound(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()
    with pytest.raises(InvalidFile, match="201 files"):
        load(str(tmp_path))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + dedent(GOOD).encode())
    assert len(load(str(tmp_path)).rules) == 1


# Any file at all

words = st.sampled_from(
    [
        "rules", "use", "people", "name", "match", "type", "when", "audience", "except", "notify",
        "title", "each", "tag",
        "a", "order.*", "everyone", "user:bob", "user:{{ data.a }}", "data.a == 'x'",
        "{{ item }}", "{% if data %}", "github",
        "data[*].a", "set", "without", "level", "info", "",
    ]
)  # fmt: skip
trees = st.recursive(
    words | st.none() | st.integers() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=25,
)
match_like = st.fixed_dictionaries({"type": words}, optional={"when": words})
audience_like = words | st.lists(words | st.fixed_dictionaries({"each": words, "tag": words}))
rule_like = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "A B"]), "match": match_like},
    optional={"audience": audience_like, "notify": trees},
)
files = st.one_of(
    trees.map(yaml.safe_dump),
    st.lists(rule_like, max_size=3).map(lambda rules: yaml.safe_dump({"rules": rules})),
    st.text(max_size=60),
    st.text(alphabet="{}[]:-&*!|>'\"#%@` \n\tab", max_size=60),
)


@settings(max_examples=200, deadline=None)
@given(text=files)
@example("rules: [{name: a, match: {type: a}, notify: {title: '{{ 1e9999 }}'}}]")
def test_any_text_is_rules_or_an_error_with_its_line(text: str) -> None:
    try:
        rules = rules_of(text)
    except InvalidInput as error:
        refused = error
    else:
        rules.route(event("a", {"a": "x"}))
        return
    assert re.fullmatch(rf"{re.escape(FILE)}:[1-9]\d*", refused.field)
    assert refused.problem
    assert refused.fix


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), what=st.text(max_size=3))
def test_a_good_file_with_a_slip_is_rules_or_an_error_with_its_line(cut: int, what: str) -> None:
    good: Any = dedent(GOOD)
    try:
        rules_of(good[:cut] + what + good[cut + 1 :])
    except InvalidFile as refused:
        line = int(refused.field.rpartition(":")[2])
        assert 1 <= line <= good.count("\n") + what.count("\n") + 1


def test_a_thousand_rules_load_in_seconds() -> None:
    rule = dedent(GOOD).partition("rules:\n")[2]
    text = "rules:\n" + "".join(rule.replace("paid\n", f"r{number}\n", 1) for number in range(1000))
    began = time.process_time()
    assert len(declared(text, FILE).rules) == 1000
    assert time.process_time() - began < 10
