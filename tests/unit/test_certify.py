"""`carillon certify`: what it runs, and what it says of a promise that is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli import commands
from services.commands import certification
from shared.conformance import LogMaker
from shared.conformance.broker import it_answers
from shared.conformance.event_log import a_new_log_is_empty
from shared.conformance.journeys import a_new_journey_store_is_empty
from shared.conformance.producers import keys_come_back_equal
from shared.conformance.read_models import nothing_is_there_at_first
from shared.conformance.sessions import a_new_store_is_empty


async def a_promise_nobody_keeps(make: LogMaker) -> None:
    raise AssertionError("the sky is green")


@pytest.fixture(autouse=True)
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certification, "EVENT_LOG_CHECKS", (a_new_log_is_empty,))
    monkeypatch.setattr(certification, "LOG_UPKEEP_CHECKS", ())
    monkeypatch.setattr(certification, "BROKER_CHECKS", (it_answers,))
    monkeypatch.setattr(certification, "RPC_CHECKS", ())
    monkeypatch.setattr(certification, "SESSION_STORE_CHECKS", (a_new_store_is_empty,))
    monkeypatch.setattr(certification, "READ_MODELS_CHECKS", (nothing_is_there_at_first,))
    monkeypatch.setattr(certification, "FOLDING_CHECKS", ())
    monkeypatch.setattr(certification, "JOURNEY_STORE_CHECKS", (a_new_journey_store_is_empty,))
    monkeypatch.setattr(certification, "PRODUCER_STORE_CHECKS", (keys_come_back_equal,))


def certify(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, ["certify", "--data", str(folder), *arguments])
    return result.exit_code, result.stdout


def test_a_deployment_that_keeps_its_promises(tmp_path: Path) -> None:
    status, output = certify(tmp_path)
    assert status == 0, output
    assert "1/6  ok    log: a_new_log_is_empty" in output
    assert "all 6 promises are kept" in output
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_broken_promise_is_named_and_the_others_are_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certification, "EVENT_LOG_CHECKS", (a_promise_nobody_keeps,))
    status, output = certify(tmp_path, "--json")
    report = json.loads(output)
    assert status == 1
    assert report["promises"] == [
        {"promise": "log: a_promise_nobody_keeps", "kept": False, "problem": "the sky is green"},
        {"promise": "broker: it_answers", "kept": True, "problem": ""},
        {"promise": "sessions: a_new_store_is_empty", "kept": True, "problem": ""},
        {"promise": "read models: nothing_is_there_at_first", "kept": True, "problem": ""},
        {"promise": "journeys: a_new_journey_store_is_empty", "kept": True, "problem": ""},
        {"promise": "producers: keys_come_back_equal", "kept": True, "problem": ""},
    ]
