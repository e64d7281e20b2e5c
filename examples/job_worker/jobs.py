"""What a job can be: an asynchronous generator that says how far it is, and ends with a result."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Names of the steps of an export, in their order.
EXPORT_STEPS = ("read", "convert", "write")


class JobFailed(Exception):
    """The job cannot be done; says why, and at which of its steps."""

    def __init__(self, why: str, step: str | None = None) -> None:
        super().__init__(why)
        self.step = step


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    percent: float
    message: str
    steps: dict[str, Any] | None = None
    """What is new of its steps, by their ids."""


@dataclass(frozen=True)
class Result:
    """What came of it; the last that a job says."""

    value: Any


Work = Callable[[], AsyncIterator[Progress | Result]]


@dataclass(frozen=True)
class Job:
    """Something to be done."""

    id: str
    work: Work


def checksums(id_: str, folder: Path) -> Job:
    """The SHA-256 of every file below a folder, and one of all of them."""

    async def work() -> AsyncIterator[Progress | Result]:
        files = await asyncio.to_thread(_files_of, folder)
        total, whole, size_bytes = len(files), hashlib.sha256(), 0
        for number, path in enumerate(files, 1):
            try:
                content = await asyncio.to_thread(path.read_bytes)
            except OSError as failed:
                raise JobFailed(f"{path}: {failed.strerror}") from failed
            whole.update(hashlib.sha256(content).digest())
            size_bytes += len(content)
            yield Progress(100 * number / total, f"{number} of {total}: {path.name}")
        yield Result({"files": total, "bytes": size_bytes, "sha256": whole.hexdigest()})

    return Job(id_, work)


def _files_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise JobFailed(f"{folder} is no folder")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def export(id_: str, seed: str, pace: float, fails: float = 0.25) -> Job:
    """An export of some rows that takes its time, in three steps, and fails by chance.

    Args:
        seed: decides how many rows there are, how long each part takes, and whether it fails.
        pace: real seconds for each simulated one.
    """

    async def work() -> AsyncIterator[Progress | Result]:
        chance = random.Random(seed)
        rows = chance.randrange(500, 5000)
        breaks_at = chance.choice(EXPORT_STEPS) if chance.random() < fails else None
        yield Progress(0, f"{rows} rows", _plan())
        for number, step in enumerate(EXPORT_STEPS):
            yield Progress(100 * number / 3, f"{step} begins", {step: {"status": "running"}})
            for part in range(1, 5):
                await asyncio.sleep(chance.uniform(0.1, 0.5) * pace)
                if step == breaks_at and part == 3:
                    raise JobFailed(f"row {rows // 3} cannot be read", step)
                yield Progress(100 * (number + part / 4) / 3, f"{step}: {rows * part // 4} of {rows} rows")
            yield Progress(100 * (number + 1) / 3, f"{step} is done", {step: {"status": "completed"}})
        yield Result({"rows": rows})

    return Job(id_, work)


def _plan() -> dict[str, Any]:
    """The steps of an export, each after the one before."""
    before = [[], *([step] for step in EXPORT_STEPS)]
    return {
        step: {"name": step.title(), "status": "pending", "needs": needs}
        for step, needs in zip(EXPORT_STEPS, before, strict=False)
    }
