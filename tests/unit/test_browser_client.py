"""The browser client without a browser: its types, its own unit tests on Node.js, its size, its package."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.client import FOLDER
from infra.node import find_node
from tests.golden.frames import FOLDER as GOLDEN
from tests.golden.frames import STREAMS

BUILT = FOLDER / "dist"
# What a page loads before it can show anything live.
BUDGET_BYTES = 8 * 1024
RUN_WITHIN_S = 100


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests as files that Node.js can run."""
    made = tmp_path_factory.mktemp("client-tests")
    node("build.mjs", "--tests", str(made))
    return made


def node(*arguments: str) -> str:
    """What it prints, where it succeeds."""
    found = find_node(print)
    ran = subprocess.run(
        [str(found.folder / "node"), *arguments],
        cwd=FOLDER,
        env=found.environment(),
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


def test_it_is_small() -> None:
    size = len(gzip.compress((BUILT / "carillon.js").read_bytes(), mtime=0))
    assert size < BUDGET_BYTES, f"{size} bytes gzipped"


def test_it_needs_nothing_at_run_time() -> None:
    about: dict[str, Any] = json.loads((FOLDER / "package.json").read_text())
    assert not about.keys() & {"dependencies", "peerDependencies", "optionalDependencies"}
    versions: Sequence[str] = list(about["devDependencies"].values())
    assert all(version[0].isdigit() for version in versions), "versions are pinned"
    assert not list(FOLDER.rglob("package-lock.json"))


def test_each_entry_of_the_package_is_built() -> None:
    about: dict[str, Any] = json.loads((FOLDER / "package.json").read_text())
    named = [path for entry in about["exports"].values() for path in entry.values()]
    assert [path for path in named if not (FOLDER / path).is_file()] == []
