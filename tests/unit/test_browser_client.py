"""The browser client without a browser: its types, its own unit tests on Node.js, its size, its package."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.client import FOLDER
from infra.node import find_node
from shared.folds.streams import Stream
from shared.model.entry import Entry
from shared.model.event import Event
from tests.golden.frames import FOLDER as GOLDEN
from tests.golden.frames import STREAMS

BUILT = FOLDER / "dist"
# What a page loads before it can show anything live.
BUDGET_BYTES = 8 * 1024
RUN_WITHIN_S = 280
# Streams that both sides fold.
RUNS = 400


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests as files that Node.js can run."""
    made = tmp_path_factory.mktemp("client-tests")
    node("build.mjs", "--tests", str(made))
    return made


def node(*arguments: str, stdin: str = "") -> str:
    """What it prints, where it succeeds."""
    found = find_node(print)
    ran = subprocess.run(
        [str(found.folder / "node"), *arguments],
        cwd=FOLDER,
        env=found.environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, f"{' '.join(arguments)[:200]}\n{ran.stdout[-6000:]}\n{ran.stderr[-2000:]}"
    return ran.stdout


def test_its_types_hold() -> None:
    node("node_modules/typescript/bin/tsc", "-p", "test")


def test_its_own_tests_pass(bundles: Path) -> None:
    told = node("--test", "--test-reporter=tap", *map(str, sorted(bundles.glob("*.test.mjs"))))
    assert "\n# fail 0\n" in told
    assert "\n# pass 0\n" not in told


@pytest.mark.parametrize("size", [1_000_000, 1])
def test_it_reads_the_streams_that_the_edge_writes(bundles: Path, size: int) -> None:
    """The golden streams, whole and cut inside every character and line end; the long line would take minutes so."""
    names = [name for name in STREAMS if size > 1 or name != "long-line"]
    files = [str(GOLDEN / f"{name}.sse") for name in names]
    read = json.loads(node(str(bundles / "golden.mjs"), str(size), *files))
    assert read == [[_frame(event.type, event.data, event.id) for event in STREAMS[name].seen] for name in names]


def _frame(name: str, data: str, id_: str | None) -> dict[str, str]:
    return {"name": name, "data": data} | ({"id": id_} if id_ is not None else {})


def test_it_folds_streams_as_the_edge_does(bundles: Path) -> None:
    choose = random.Random(7)
    cases = [[an_event(choose, number) for number in range(choose.randrange(1, 12))] for _ in range(RUNS)]
    told = json.dumps([{"subject": "job/1", "events": events} for events in cases])
    folded = json.loads(node(str(bundles / "fold.mjs"), stdin=told))
    assert len(folded) == RUNS
    for events, found in zip(cases, folded, strict=True):
        stream = Stream("job/1")
        for number, (event, state) in enumerate(zip(events, found, strict=True), start=1):
            stream.add(entry_of(event, number))
            expected = {name: value for name, value in stream.document().items() if name != "truncated"}
            assert state == expected, json.dumps(events[:number])


def an_event(choose: random.Random, number: int) -> dict[str, Any]:
    """What a producer might send next: mostly sense, sometimes none."""
    time = f"2026-01-31T12:{number:02d}:{choose.randrange(60):02d}.{choose.randrange(1000):03d}Z"
    event: dict[str, Any] = {
        "specversion": "1.0", "id": str(number), "source": "/t", "type": "t", "subject": "job/1", "time": time
    }  # fmt: skip
    if choose.random() < 0.05:
        event["final"] = choose.choice(["true", True])
    return event | {"data": a_patch(choose) if choose.random() < 0.95 else choose.choice([None, 5, "text", [1], []])}


def a_patch(choose: random.Random) -> dict[str, Any]:
    statuses = ["pending", "running", "running", "completed", "failed", "skipped", "odd", None, 3]
    patch: dict[str, Any] = {}
    if choose.random() < 0.6:
        patch["status"] = choose.choices(statuses, [3, 9, 9, 1, 1, 1, 1, 1, 1])[0]
    if choose.random() < 0.6:
        patch["progress"] = choose.choice([0, 7, 99.5, 150, -3, "half", True, None, [1]])
    if choose.random() < 0.6:
        patch[choose.choice(["steps", "nodes"])] = choose.choice(
            [None, 5, [], {"a": None, "b": 1}, *[{choose.choice("ab"): a_step(choose)} for _ in range(9)]]
        )
    if choose.random() < 0.3:
        patch["result"] = choose.choice([None, {"x": {"y": None, "z": 1}}, {"x": None}, [1, {"a": None}], ""])
    return patch


def a_step(choose: random.Random) -> dict[str, Any]:
    step: dict[str, Any] = {"name": choose.choice(["build", None])}
    if choose.random() < 0.8:
        step["status"] = choose.choice(["pending", "running", "completed", "failed", "skipped", "odd", None])
    for name in ("started_at", "ended_at"):
        if choose.random() < 0.2:
            step[name] = choose.choice(["2026-01-31T12:05:00.250Z", "2026-01-31T12:06:00.000Z", "yesterday", None])
    if choose.random() < 0.1:
        step["duration_ms"] = choose.choice([5, None])
    return step


def entry_of(event: dict[str, Any], number: int) -> Entry:
    made = Event.from_attributes(event | {"audience": "user:alice"})
    return Entry(
        number, number, made.source, made.id, made.type, made.subject, made.tags, made.is_final, None, None,
        datetime.now(UTC), made.public_json(),
    )  # fmt: skip


def test_it_is_small() -> None:
    size = len(gzip.compress((BUILT / "carillon.js").read_bytes(), mtime=0))
    assert size < BUDGET_BYTES, f"{size} bytes gzipped"


def test_it_needs_nothing_at_run_time() -> None:
    about: dict[str, Any] = json.loads((FOLDER / "package.json").read_text())
    assert not about.keys() & {"dependencies", "optionalDependencies"}
    # The hooks are for those who have React anyway.
    assert about["peerDependencies"].keys() == {"react"}
    assert about["peerDependenciesMeta"] == {"react": {"optional": True}}
    assert b'"react"' not in (BUILT / "carillon.js").read_bytes()
    versions: Sequence[str] = list(about["devDependencies"].values())
    assert all(version[0].isdigit() for version in versions), "versions are pinned"
    assert not list(FOLDER.rglob("package-lock.json"))


def test_each_entry_of_the_package_is_built() -> None:
    about: dict[str, Any] = json.loads((FOLDER / "package.json").read_text())
    named = [path for entry in about["exports"].values() for path in entry.values()]
    assert [path for path in named if not (FOLDER / path).is_file()] == []
