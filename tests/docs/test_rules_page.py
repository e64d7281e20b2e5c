"""docs/operating/rules.md: its walk-through, run as it is written; its tables against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli import commands
from services.ingest.rules.expression import FUNCTIONS, compiled
from services.ingest.rules.filters import FILTERS
from services.ingest.rules.scope import NAMES
from services.ingest.rules.steps import MAX_STEPS_PER_EVENT, MAX_STEPS_PER_RULE
from tests.docs.pages import section, text_of
from tests.harness.rules import rules_of

PAGE = text_of("docs/operating/rules.md")
FIRST = section(PAGE, "A first rule")
FILES = re.findall(r"`([\w.]+)`:\n\n```(?:yaml|json)\n(.*?)^```$", FIRST, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\ncarillon (.*?)\n```\n\n```\n(.*?)^```$", FIRST, re.MULTILINE | re.DOTALL)


def test_the_walk_through_says_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES:
        Path(name).write_text(text)
    assert [name for name, _ in FILES] == ["rules.yaml", "event.json", "slip.yaml"]
    assert len(COMMANDS) == 3
    for command, shown in COMMANDS:
        assert CliRunner().invoke(commands, command.split(), prog_name="carillon").output == shown


def test_the_other_rule_files_are_good() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.replace(FIRST, ""), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert rules_of(*blocks).people.user("github", "OctoCat") == "alice"


def test_the_conditions_are_good() -> None:
    (block,) = re.findall(r"^```\n(.*?)^```$", section(PAGE, "Conditions"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        compiled(line)


def test_all_names_functions_and_filters_are_told() -> None:
    conditions, templates = section(PAGE, "Conditions"), section(PAGE, "Templates")
    assert set(NAMES) <= set(re.findall(r"`(\w+)`", conditions))
    told = re.search(r"There are the functions (.*?)\.", conditions, re.DOTALL)
    assert told is not None
    assert set(re.findall(r"`(\w+)`", told[1])) == FUNCTIONS
    rows = "".join(re.findall(r"^\| (`.*?) \|", templates, re.MULTILINE))
    assert set(re.findall(r"`(\w+)", rows)) == set(FILTERS)


def test_the_steps_are_told() -> None:
    told = section(PAGE, "What rules may cost")
    assert f"{MAX_STEPS_PER_RULE:,} a rule and {MAX_STEPS_PER_EVENT:,} an event" in told
