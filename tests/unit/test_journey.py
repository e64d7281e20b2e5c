"""Spans to steps, steps to journeys, and a journey as lines of text."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from services.cli import commands
from services.commands.trace import waterfall
from shared.embedded.journeys import open_journey_store
from shared.ports.journeys import FAILED, SKIPPED, Step
from shared.telemetry import tracing
from shared.telemetry.journey import Journey, journeys_of
from shared.telemetry.steps import steps_of

GOLDEN = Path(__file__).parents[1] / "golden" / "waterfall.txt"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOON_US = 1_769_860_800_000_000
SERVICE = "edge host-1"


def a_context(span: int, trace: str = TRACE) -> SpanContext:
    return SpanContext(int(trace, 16), span, False, TraceFlags(1))


def a_span(attributes: dict[str, Any], *, links: Sequence[Link] = (), failed: bool = False) -> ReadableSpan:
    return ReadableSpan(
        "work", a_context(5), a_context(4), Resource.get_empty(), attributes, links=links, start_time=NOON_US * 1000,
        end_time=NOON_US * 1000 + 2_500_999, status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
    )  # fmt: skip


EVENT = tracing.about("/shop", "order-7", "order.created")
STEP = Step(
    stage="delivered", source="/shop", id="order-7", trace=TRACE, span=f"{5:016x}", parent=f"{4:016x}",
    began_us=NOON_US, took_us=2500, service="edge host-1", about={"type": "order.created"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, STEP),
        ({tracing.POSITION: 12, tracing.USER: "alice"}, replace(STEP, about={"position": "12", "user": "alice"})),
        ({tracing.REPLAYED: True}, replace(STEP, about={"replayed": "true"})),
        ({tracing.REPLAYED: False}, STEP),
        ({tracing.SKIPPED: "filtered"}, replace(STEP, outcome=SKIPPED, reason="filtered")),
        ({tracing.FAILED: "slow-reader"}, replace(STEP, outcome=FAILED, reason="slow-reader")),
    ],
)
def test_a_span_of_one_event_is_one_step(attributes: dict[str, Any], expected: Step) -> None:
    span = a_span(EVENT | {tracing.STEP: "delivered"} | attributes)
    about = {"type": "order.created", **expected.about}
    (step,) = steps_of(span, SERVICE)
    assert replace(step, about=dict(step.about)) == replace(expected, about=about)


def test_a_span_that_failed_says_by_what() -> None:
    (step,) = steps_of(
        a_span(EVENT | {tracing.STEP: "accepted", "error.type": "BrokerUnavailable"}, failed=True), SERVICE
    )
    assert (step.outcome, step.reason) == (FAILED, "BrokerUnavailable")


def test_a_span_that_is_no_step_is_none() -> None:
    assert list(steps_of(a_span(dict(EVENT)), SERVICE)) == []


def test_a_batch_is_a_step_of_each_event_that_it_links_to_in_that_events_trace() -> None:
    other = "f" * 32
    links = [
        Link(a_context(7), EVENT | {tracing.POSITION: 12}),
        Link(a_context(8, other), tracing.about("/shop", "order-8", "a.b") | {tracing.FAILED: "version-conflict"}),
        Link(a_context(9), {}),
    ]
    first, second = steps_of(a_span({tracing.STEP: "persisted", tracing.BATCH_COUNT: 3}, links=links), SERVICE)
    assert (first.id, first.trace, first.span, first.about["position"]) == ("order-7", TRACE, f"{5:016x}", "12")
    assert (second.id, second.trace, second.outcome, second.reason) == ("order-8", other, FAILED, "version-conflict")
    assert first.about["batch"] == "3"


def a_journey() -> list[Step]:
    """An event to alice and bob: she sees it and reads it later, he was away, and comes back after an hour."""

    def step(stage: str, after_us: int, took_us: int, service: str, **more: Any) -> Step:
        about = {name: value for name, value in more.items() if name not in ("outcome", "reason")}
        of_step = {name: value for name, value in more.items() if name in ("outcome", "reason")}
        span = f"{after_us:016x}"
        began_us = NOON_US + 123_456 + after_us
        return Step(
            stage, "/shop", "order-7", TRACE, span, "a" * 16, began_us, took_us, service, about=about, **of_step
        )

    edge = {"edge": "edge-1", "position": "12"}
    filtered = {"outcome": SKIPPED, "reason": "filtered", "user": "alice", **edge}
    cut = {"outcome": FAILED, "reason": "slow-reader", "user": "carol", **edge}
    later = {"user": "bob", "connection": "b0b", "edge": "edge-2", "replayed": "true"}
    return [
        step("accepted", 0, 2900, "ingest host-1", type="order.created"),
        step("persisted", 3100, 1400, "persister host-2", batch="3", position="12"),
        step("dispatched", 4800, 600, "persister host-2", position="12"),
        step("delivered", 5600, 400, "edge host-3", user="alice", connection="8cr8b3VY1svR", **edge),
        step("delivered", 5700, 0, "edge host-3", connection="qX2", **filtered),
        step("delivered", 5800, 90, "edge host-3", connection="zzz", **cut),
        step("received", 9000, 0, "edge host-4", user="alice", connection="8cr8b3VY1svR"),
        step("seen", 61_000_000, 900, "edge host-3", user="alice"),
        step("delivered", 3_661_000_000, 700, "edge host-4", **later),
    ]  # fmt: skip


def test_the_waterfall_is_as_written_down() -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_journey.py, and read the difference."""
    (journey,) = journeys_of(a_journey())
    shown = "\n".join(waterfall(journey)) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


def test_steps_are_told_by_event_in_the_order_in_which_they_began() -> None:
    mine = a_journey()
    others = [replace(step, id="order-8", began_us=step.began_us + 1) for step in mine]
    found = journeys_of([*reversed(others), *reversed(mine)])
    assert found == [Journey("/shop", "order-7", mine), Journey("/shop", "order-8", others)]


@pytest.mark.parametrize(
    ("stages", "reached"),
    [(9, "seen"), (7, "received"), (4, "delivered"), (3, "dispatched"), (1, "accepted")],
)
def test_how_far_it_came(stages: int, reached: str) -> None:
    assert Journey("/shop", "order-7", a_journey()[:stages]).reached == reached


def test_a_journey_that_came_nowhere_failed() -> None:
    refused = replace(a_journey()[0], outcome=FAILED, reason="BrokerUnavailable")
    assert Journey("/shop", "order-7", [refused]).reached == FAILED


def test_what_came_later_was_not_waited_for() -> None:
    assert Journey("/shop", "order-7", a_journey()).live_us == 9000


def test_for_one_user_what_happened_to_others_is_left_out() -> None:
    of_bob = Journey("/shop", "order-7", a_journey()).of_user("bob")
    assert [step.about.get("user") for step in of_bob.steps] == [None, None, None, "bob"]


class TestCommand:
    @pytest.fixture
    async def folder(self, tmp_path: Path) -> Path:
        async with open_journey_store(tmp_path / "journeys.db") as store:
            await store.keep(a_journey(), 3600)
            await store.keep([replace(a_journey()[0], source="/other", span="b" * 16, trace="f" * 32)], 3600)
        return tmp_path

    @staticmethod
    def trace(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands, ["trace", *arguments], prog_name="carillon")
        return result.exit_code, result.output

    def test_by_event(self, folder: Path) -> None:
        status, output = self.trace("order-7", "--source", "/shop", "--data", str(folder))
        assert (status, output) == (0, GOLDEN.read_text())

    def test_by_trace_with_all_that_happened_to_its_event(self, folder: Path) -> None:
        assert self.trace(TRACE, "--data", str(folder)) == (0, GOLDEN.read_text())

    def test_an_id_of_two_sources_is_two_journeys(self, folder: Path) -> None:
        _, output = self.trace("order-7", "--data", str(folder), "--json")
        assert [journey["source"] for journey in json.loads(output)] == ["/shop", "/other"]

    def test_for_scripts(self, folder: Path) -> None:
        _, output = self.trace("order-7", "--source", "/shop", "--user", "bob", "--data", str(folder), "--json")
        (journey,) = json.loads(output)
        assert (
            journey.items()
            >= {"id": "order-7", "type": "order.created", "position": 12, "reached": "delivered"}.items()
        )
        assert journey["steps"][-1] == {
            "began": "2026-01-31T13:01:01.123456Z", "took_ms": 0.7, "stage": "delivered", "trace": TRACE,
            "span": f"{3_661_000_000:016x}", "parent": "a" * 16, "service": "edge host-4", "outcome": "done",
            "reason": None, "about": {"user": "bob", "connection": "b0b", "edge": "edge-2", "replayed": "true"},
        }  # fmt: skip

    def test_more_than_the_limit_says_so(self, folder: Path) -> None:
        _, output = self.trace("order-7", "--limit", "2", "--data", str(folder))
        assert output.endswith("These are the first 2 steps; --limit shows more.\n")
        assert output.count("█") > 0

    @pytest.mark.parametrize("what", ["nothing", "0" * 32, "'; DROP TABLE steps; --", "\x1b[2J"])
    def test_what_is_not_there_is_one_line(self, folder: Path, what: str) -> None:
        status, output = self.trace(what, "--data", str(folder))
        assert status == 1
        assert output.count("\n") == 1
        assert "no step of" in output
        assert "\x1b" not in output

    def test_without_a_folder_it_says_which_to_name(self, tmp_path: Path) -> None:
        status, output = self.trace("x", "--data", str(tmp_path / "nowhere"))
        assert (status, output.count("\n")) == (2, 1)
        assert "name the folder of carillon dev" in output
