"""The workflow engine of examples/workflow: its definitions, its pure machine, and that a seed decides everything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.events import Event, NotPublished
from examples.outbox import open_outbox
from examples.workflow.actions import Context, StepFailed, simulated
from examples.workflow.definition import Step, Workflow, WrongDefinition, from_yaml, load, shipped
from examples.workflow.engine import Engine
from examples.workflow.run import CANCELLED, COMPLETED, ENDED, FAILED, PENDING, Change, Run


async def nothing(context: Context) -> str:
    return "done"


async def broken(context: Context) -> str:
    raise StepFailed("meant")


def merged(patches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """RFC 7396, section 2."""
    state: dict[str, Any] = {}
    for patch in patches:
        merge(state, patch)
    return state


def merge(state: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            state.pop(name, None)
        elif isinstance(value, Mapping):
            if not isinstance(state.get(name), dict):
                state[name] = {}
            merge(state[name], value)
        else:
            state[name] = value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mapping with steps"),
        ("steps: [a]", "mapping with steps"),
        ("steps: {}", "no steps"),
        ("steps: {a: {}}", "run: or by simulate:"),
        ("steps: {a: {run: x, simulate: {}}}", "run: or by simulate:"),
        ("steps: {a: {run: x, retires: 1}}", "no retires"),
        ("steps: {A b: {run: x}}", "no id"),
        ("steps: {a: {run: x, needs: [b]}}", "needs b, which is no step"),
        ("steps: {a: {run: x, when: {b: done}}, b: {run: x}}", "does not need it"),
        ("steps: {a: {run: x, needs: [b]}, b: {run: x, needs: [a]}, c: {run: x, needs: [b]}, d: {run: x}}", "a, b, c"),
        ("steps: {a: {run: x, needs: [a]}}", "wait for each other"),
    ],
)
def test_a_definition_that_could_not_run_says_why(text: str, says: str) -> None:
    with pytest.raises(WrongDefinition, match=says):
        from_yaml(text, "w")


def test_what_is_shipped_loads(tmp_path: Path) -> None:
    assert {load(name).name for name in shipped()} == set(shipped())
    with pytest.raises(WrongDefinition, match="no workflow"):
        load("nothing")
    (tmp_path / "w.py").write_text("workflow = 7")
    with pytest.raises(WrongDefinition, match="assign a Workflow"):
        load(str(tmp_path / "w.py"))


def executed(workflow: Workflow, seed: int = 1) -> list[Change]:
    """The changes of one run, as fast as it goes."""
    changes: list[Change] = []

    async def tell(change: Change) -> None:
        changes.append(change)

    asyncio.run(Engine(tell, seed, pace=0).execute(workflow))
    return changes


def states(changes: Sequence[Change]) -> dict[str, str]:
    state = merged([change.data for change in changes])
    return {id_: about["status"] for id_, about in state["steps"].items()}


def test_the_way_back_is_gone_only_after_a_failure() -> None:
    for last, expected in ((nothing, [COMPLETED, CANCELLED, COMPLETED]), (broken, [FAILED, COMPLETED, CANCELLED])):
        steps = (
            Step("deploy", last),
            Step("back", nothing, needs=("deploy",), when={"deploy": "failed"}),
            Step("after", nothing, needs=("deploy",)),
        )
        assert list(states(executed(Workflow("w", steps))).values()) == expected


def test_either_branch_leads_on_where_any_is_enough() -> None:
    workflow = load("import_orders")
    ways = {tuple(states(executed(workflow, seed)).values()) for seed in range(30)}
    assert ways == {
        (COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        (COMPLETED, COMPLETED, CANCELLED, COMPLETED),
    }


def test_a_step_is_tried_as_often_as_it_may_and_then_fails() -> None:
    changes = executed(Workflow("w", (Step("a", broken, retries=2), Step("b", nothing, needs=("a",)))))
    assert [change.type for change in changes] == [
        "workflow.started",
        "workflow.step.started",
        "workflow.step.retried",
        "workflow.step.retried",
        "workflow.step.failed",
        "workflow.step.cancelled",
        "workflow.failed",
    ]
    state = merged([change.data for change in changes])
    assert state["steps"]["a"] == {"name": "a", "status": FAILED, "needs": [], "attempt": 3, "error": "meant"}
    assert (state["status"], state["progress"], state["error"]) == (FAILED, 100, "failed: a")


def test_a_step_that_takes_too_long_fails() -> None:
    async def slow(context: Context) -> str:
        await asyncio.sleep(60)
        return "done"

    changes = executed(Workflow("w", (Step("a", slow, timeout_s=0.05),)))
    assert "longer than 0.05 s" in changes[-2].data["steps"]["a"]["error"]


def test_commands_are_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    text = f"steps: {{a: {{run: 'touch {made}'}}, b: {{run: 'echo one; echo two; exit 3'}}, c: {{run: 'exit 4'}}}}"
    state = merged([change.data for change in executed(from_yaml(text, "w"))])
    assert made.exists()
    assert {id_: about.get("error") for id_, about in state["steps"].items()} == {
        "a": None,
        "b": "two",
        "c": "it ended with status 4",
    }


def test_a_seed_decides_what_becomes_of_each_step() -> None:
    """Only the order of what runs side by side is the clock's."""

    def by_step(seed: int) -> dict[str, list[Any]]:
        told: dict[str, list[Any]] = {}
        for change in executed(load("release"), seed)[1:]:
            for id_, about in change.data.get("steps", {}).items():
                told.setdefault(id_, []).append((change.type, dict(about)))
        return told

    runs = [by_step(seed) for seed in range(12)]
    assert runs == [by_step(seed) for seed in range(12)]
    assert len({str(run) for run in runs}) > 3, "and another seed is another run"


async def test_a_run_that_is_stopped_says_so_last() -> None:
    changes: list[Change] = []
    begun = asyncio.Event()

    async def tell(change: Change) -> None:
        changes.append(change)

    async def forever(context: Context) -> str:
        begun.set()
        await asyncio.Event().wait()
        return "done"

    workflow = Workflow("w", (Step("a", forever), Step("b", nothing, needs=("a",))))
    running = asyncio.create_task(Engine(tell, 1).execute(workflow))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (changes[-1].type, changes[-1].final) == ("workflow.cancelled", True)
    state = merged([change.data for change in changes])
    assert {about["status"] for about in state["steps"].values()} == {state["status"]} == {CANCELLED}


words = st.sampled_from(["done", "red", "failed", "cancelled"])


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 7))):
        needs = draw(st.lists(st.sampled_from([step.id for step in steps]), unique=True)) if steps else []
        when = {need: draw(words) for need in needs if draw(st.booleans())}
        action = draw(st.sampled_from([nothing, broken, simulated((0, 0), 0.5, ("done", "red"))]))
        join, retries = draw(st.sampled_from(["all", "any"])), draw(st.integers(0, 2))
        steps.append(Step(f"s{number}", action, needs=tuple(needs), when=when, join=join, retries=retries))
    return Workflow("drawn", draw(st.permutations(steps)))


@given(workflows(), st.integers(0, 1000))
def test_whatever_the_plan_a_run_ends_and_its_patches_are_its_state(workflow: Workflow, seed: int) -> None:
    run, changes = Run(workflow), executed(workflow, seed)
    status = dict.fromkeys(run.status, PENDING)
    needs = {step.id: step.needs for step in workflow.steps}
    progress = 0
    for change in changes[1:]:
        for id_, about in change.data.get("steps", {}).items():
            assert all(status[need] in ENDED for need in needs[id_]), "nothing begins before what it needs has ended"
            assert status[id_] not in ENDED, "what has ended stays so"
            status[id_] = about["status"]
        assert change.data.get("progress", progress) >= progress
        progress = change.data.get("progress", progress)
    assert [change.final for change in changes] == [False] * (len(changes) - 1) + [True]
    assert states(changes) == status
    assert all(each in ENDED for each in status.values())
    failed = FAILED in status.values()
    assert changes[-1].data["status"] == (FAILED if failed else COMPLETED)


class Taker:
    """Takes events, one after the other, and refuses what it is told to."""

    def __init__(self, refuses: str = "") -> None:
        self.taken: list[Any] = []
        self.refuses = refuses
        self._busy = False

    async def publish(self, event: Event) -> None:
        assert not self._busy, "one after the other"
        self._busy = True
        await asyncio.sleep(0)
        if event["id"] == self.refuses:
            raise NotPublished("refused")
        self.taken.append(event["id"])
        self._busy = False


async def told_and_left(taker: Taker, count: int, leaving: BaseException) -> None:
    async with asyncio.timeout(60), open_outbox(taker) as outbox:
        for number in range(count):
            await outbox.tell({"id": str(number)})
        raise leaving


async def test_an_outbox_sends_all_in_order_also_when_its_block_is_left_in_a_hurry() -> None:
    taker = Taker()
    with pytest.raises(ExceptionGroup):
        await told_and_left(taker, 50, ValueError("in a hurry"))
    assert taker.taken == [str(number) for number in range(50)]


async def test_an_outbox_that_is_refused_ends_its_block() -> None:
    taker = Taker(refuses="20")
    with pytest.raises(ExceptionGroup) as ended:
        await told_and_left(taker, 50, ValueError("in a hurry"))
    assert ended.group_contains(NotPublished)
    assert taker.taken == [str(number) for number in range(20)]


async def test_an_outbox_that_is_refused_does_not_let_its_block_wait_for_ever() -> None:
    async def waits() -> None:
        async with open_outbox(Taker(refuses="0")) as outbox:
            await outbox.tell({"id": "0"})
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(waits(), 60)
