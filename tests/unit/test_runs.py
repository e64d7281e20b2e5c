"""Runs: steps as producers tell them, which wait for which, the picture, and the pages."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.drawing import MAX_LINKS, drawn
from services.console.steps import MAX_STEPS, Span, Step, links_of, spans_of, steps_of
from services.persister.projections.rebuilding import rebuilt
from shared.folds.streams import STREAMS
from shared.model.entry import Entry
from shared.wiring import Backends
from tests.unit.test_console import append, console, sign_in
from tests.unit.test_lines import an_entry

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(second: int) -> str:
    return f"2026-01-01T12:00:{second:02}Z"


def steps(needs: dict[str, list[str]], **more: Any) -> list[Step]:
    return list(steps_of({"steps": {id_: {"needs": names, **more} for id_, names in needs.items()}}))


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"steps": None},
        {"steps": [1, 2]},
        {"steps": {"a": None, "b": "running", "c": []}},
    ],
)
def test_what_is_no_step_is_none(told: dict[str, Any]) -> None:
    assert steps_of(told) == []


def test_a_step_of_any_types() -> None:
    odd = {
        "name": 7,
        "status": ["x"],
        "needs": "a",
        "started_at": 12,
        "duration_ms": "long",
        "attempt": 1e300,
        "error": {},
    }
    [step] = steps_of({"nodes": {"a": odd}})
    assert (step.name, step.look, step.needs, step.started, step.duration_ms, step.attempt) == (
        "7", "pending", (), None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"a": [], "b": ["a"], "c": ["a", "b", "b"]}, [(0, 1), (0, 2), (1, 2)]),
        ({"a": ["a"], "b": ["nobody"]}, []),
        ({"a": ["b"], "b": ["a"]}, [(0, 1)]),
        ({"a": ["c"], "b": ["a"], "c": ["b"]}, [(0, 1), (1, 2)]),
        ({"z": [], "a": ["b"], "b": ["a", "z"]}, [(0, 2), (1, 2)]),
    ],
)
def test_links(needs: dict[str, list[str]], expected: list[tuple[int, int]]) -> None:
    assert list(links_of(steps(needs))) == expected


@given(st.lists(st.lists(st.integers(0, 30), max_size=5), min_size=1, max_size=30))
def test_whatever_waits_for_whatever_there_is_a_picture_of_all(needs: list[list[int]]) -> None:
    """The library ends the process where it meets a circle."""
    made = steps({str(place): [str(need) for need in each] for place, each in enumerate(needs)})
    links = links_of(made)
    picture = drawn(len(made), tuple(links))
    assert (picture is None) == (not links)
    if picture is not None:
        assert len(picture.places) == len(made)
        assert len(set(picture.places)) == len(made), "no two lie on each other"
        assert [link for link, _ in picture.lines] == list(links)
        assert all(0 <= x < picture.width and 0 <= y < picture.height for x, y in picture.places)
        assert all(picture.places[first][0] < picture.places[second][0] for first, second in links), (
            "from left to right"
        )


def test_a_line_goes_around_what_is_between() -> None:
    picture = drawn(4, ((0, 1), (0, 3), (1, 2), (2, 3)))
    assert picture is not None
    ways = dict(picture.lines)
    assert ways[0, 3].count("H") == 2
    assert ways[0, 1].count("H") == 0


def test_a_knot_is_not_drawn() -> None:
    assert drawn(100, tuple((a, b) for a in range(100) for b in range(a + 1, 100))[: MAX_LINKS + 1]) is None


def test_spans() -> None:
    told = {
        "a": {"status": "completed", "started_at": at(0), "ended_at": at(10)},
        "b": {"status": "running", "started_at": at(10)},
        "c": {"status": "pending"},
        "d": {"status": "failed", "started_at": at(20), "ended_at": at(5)},
    }
    assert spans_of(steps_of({"steps": told}), NOW.replace(second=40)) == [
        Span(0, 0.25), Span(0.25, 0.75), None, Span(0.5, 0),
    ]  # fmt: skip
    assert spans_of(steps_of({"steps": {"c": {}}}), NOW) == [None]


async def told(backends: Backends, *runs: tuple[str, str, dict[str, Any]]) -> None:
    """Appends an event of each (subject, audience, data), and folds the log."""

    def entry(number: int, subject: str, audience: str, data: dict[str, Any]) -> Entry:
        made = an_entry(id=f"e{number}", audience=audience, data=data)
        return replace(
            made, subject=subject, version=1, event=json.dumps(json.loads(made.event) | {"data": data}).encode()
        )

    await append(backends.event_log, [entry(number, *run) for number, run in enumerate(runs)])
    await rebuilt(backends.event_log, backends.read_models, STREAMS, lambda _: None)


async def shown(client: Any, path: str) -> str:
    answer = await client.get(path, scheme="https")
    return f"{answer.status_code}\n{await answer.get_data(as_text=True)}"


async def test_the_list_is_of_everybodys_runs() -> None:
    async with console() as (client, backends):
        await told(
            backends,
            ("job/1", "user:alice", {"status": "running", "progress": 40}),
            ("job/2", "user:bob topic:x", {"status": "failed", "progress": 1e9}),
            ("order/3", "user:bob", {"total": 7}),
            ("deploy/<b>", "everyone", {"status": "completed"}),
        )
        await sign_in(client, "key-of-eve")
        page = await shown(client, "/console/runs")
        assert all(subject in page for subject in ("job/1", "job/2", "deploy/&lt;b&gt;"))
        assert "order/3" not in page, "what has no status is no run"
        page = await shown(client, "/console/runs?prefix=job/&status=failed")
        assert "job/2" in page
        assert "job/1" not in page
        for path in ("?status=odd", "?prefix=job", "?before=x", "/job/9"):
            assert (await shown(client, f"/console/runs{path}"))[:3] in ("400", "404")
        assert (await shown(client, "/console/runs/order/3"))[:3] == "200"


async def test_a_run_of_hundreds_of_steps() -> None:
    many = {
        f"step-{number}": {"status": "completed", "needs": [f"step-{number // 2}"] if number else []}
        for number in range(MAX_STEPS + 5)
    }
    many["step-7"] |= {"status": "failed", "error": "<script>", "attempt": 3, "name": "x" * 300}
    async with console() as (client, backends):
        await told(backends, ("run/1", "user:alice", {"status": "running", "steps": many}))
        await sign_in(client, "key-of-ops")
        page = await shown(client, "/console/runs/run/1")
        assert page.count('<g class="node') == MAX_STEPS
        assert page.count('class="link') == MAX_STEPS - 1
        assert "and 5 more" in page
        assert "&lt;script&gt;" in page
        assert "<script>" not in page
