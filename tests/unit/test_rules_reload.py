"""Rules change while ingest runs: good files are in force soon, bad ones leave the old rules and say so."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from services.ingest import reloading
from services.ingest.parts import InvalidFile
from services.ingest.rules.reloading import LiveRules, open_rules
from shared.model.errors import Degraded
from tests.eventually import eventually
from tests.harness.rules import event


def rule(topic: str) -> str:
    return f"rules:\n  - name: r\n    match: {{type: a}}\n    audience: topic:{topic}\n"


def topics(rules: LiveRules) -> tuple[str, ...]:
    return rules.route(event("a")).audience


async def looks(rules: LiveRules, times: int) -> None:
    for _ in range(times):
        await rules.look()


async def test_a_changed_file_is_in_force_once_it_stays(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rule("one"))
    rules = LiveRules(str(file))
    assert topics(rules) == ("topic:one",)
    file.write_text(rule("second"))
    await looks(rules, 1)
    assert topics(rules) == ("topic:one",), "it may be half written"
    await looks(rules, 1)
    assert topics(rules) == ("topic:second",)


async def test_bad_files_leave_the_old_rules_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rule("one"))
    rules = LiveRules(str(tmp_path))
    # Of another length: within one tick of the file system only that would tell.
    file.write_text(rule("a bc"))
    with caplog.at_level(logging.INFO):
        await looks(rules, 5)
    assert topics(rules) == ("topic:one",)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "rules.yaml:4" in caplog.text
    with pytest.raises(Degraded, match=r"rules\.yaml:4"):
        await rules.probe()
    file.write_text(rule("three"))
    await looks(rules, 2)
    assert topics(rules) == ("topic:three",)
    await rules.probe()


async def test_a_folder_that_goes_is_bad_and_one_that_comes_back_is_good(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "rules.yaml").write_text(rule("one"))
    rules = LiveRules(str(tmp_path / "first"))
    (tmp_path / "first").rename(tmp_path / "gone")
    await looks(rules, 3)
    assert (topics(rules), rules.problem is not None) == (("topic:one",), True)
    (tmp_path / "gone").rename(tmp_path / "first")
    await looks(rules, 3)
    assert (topics(rules), rules.problem) == (("topic:one",), None)


async def test_a_link_set_to_another_folder_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(rule(name))
        os.utime(tmp_path / name / "rules.yaml", (0, 0))
    (tmp_path / "now").symlink_to(tmp_path / "one")
    rules = LiveRules(str(tmp_path / "now"))
    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to(tmp_path / "two")
    await looks(rules, 2)
    assert topics(rules) == ("topic:two",)


async def test_bad_rules_at_the_start_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules: x")
    with pytest.raises(InvalidFile, match=r"rules\.yaml:1"):
        async with open_rules(str(tmp_path)):
            pass


async def test_open_rules_follow_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.01)
    file = tmp_path / "rules.yaml"
    file.write_text(rule("one"))
    async with open_rules(str(file)) as rules:
        file.write_text(rule("second"))
        await eventually(lambda: topics(rules) == ("topic:second",))
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "follow rules"]


async def test_without_a_place_there_are_no_rules() -> None:
    async with open_rules(None) as rules:
        await rules.look()
        assert topics(rules) == ()


def test_a_rule_that_fails_is_told_and_the_log_is_not_flooded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules: {name: r, match: {type: a}, audience: 'user:{{ data.x }}'}")
    rules = LiveRules(str(file))
    for _ in range(3):
        rules.route(event("a"))
    assert len(caplog.records) == 1
    assert "'x' is missing" in caplog.text
    assert caplog.messages[0].endswith("1 tags refused; 0 more events since last told")
