"""The job worker of examples/job_worker: what it tells, in which order and under which keys."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from examples.job_worker import worker
from examples.job_worker.jobs import Job, JobFailed, Progress, Result, checksums, export
from examples.job_worker.worker import Worker
from services.ingest.rpc.methods import METHODS
from services.ingest.rpc.params import checked


class Caller:
    """Takes calls as Carillon would, and keeps them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def call(self, method: str, key: str, params: Mapping[str, Any]) -> Any:
        checked(METHODS[method], {**params, "idempotency_key": key})
        await asyncio.sleep(0)
        self.calls.append((method, key, dict(params)))

    def of(self, job: str) -> list[tuple[str, str, dict[str, Any]]]:
        return [call for call in self.calls if call[2]["job"] == job]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TELL_EVERY_S", 0.0)


async def test_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "sub" / "b").write_bytes(b"two!")
    caller = Caller()
    assert await Worker(caller, "user:alice").work_all([checksums("j", tmp_path)], 1) == []
    whole = hashlib.sha256(hashlib.sha256(b"one").digest() + hashlib.sha256(b"two!").digest()).hexdigest()
    assert [(method, key) for method, key, _ in caller.calls] == [
        ("job.progress", "j-1"),
        ("job.progress", "j-2"),
        ("job.complete", "j-3"),
    ]
    assert [params.get("progress") for _, _, params in caller.calls] == [50, 100, None]
    assert caller.calls[-1][2]["result"] == {"files": 2, "bytes": 7, "sha256": whole}


async def test_a_folder_that_is_none_fails_its_job_alone(tmp_path: Path) -> None:
    caller = Caller()
    jobs = [checksums("gone", tmp_path / "gone"), checksums("there", tmp_path)]
    assert await Worker(caller, "user:alice").work_all(jobs, 2) == ["gone"]
    assert [call[0] for call in caller.of("gone")] == ["job.fail"]
    assert [call[0] for call in caller.of("there")] == ["job.complete"]


async def test_a_seed_decides_what_becomes_of_exports() -> None:
    async def told(seed: int) -> list[Any]:
        caller = Caller()
        await Worker(caller, "user:alice").work_all([export(f"j{n}", f"{seed}/{n}", pace=0) for n in range(6)], 3)
        return [caller.of(f"j{n}") for n in range(6)]

    runs = [await told(seed) for seed in range(5)]
    assert runs == [await told(seed) for seed in range(5)]
    endings = {calls[-1][0] for run in runs for calls in run}
    assert endings == {"job.complete", "job.fail"}
    for calls in (calls for run in runs for calls in run):
        assert [key for _, key, _ in calls] == [f"{calls[0][2]['job']}-{n}" for n in range(1, len(calls) + 1)]
        failed = [each for each in calls if each[0] == "job.fail"]
        assert all(next(iter(each[2]["steps"].values()))["status"] == "failed" for each in failed)


async def test_numbers_are_not_told_more_often_than_somebody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TELL_EVERY_S", 60.0)

    async def work() -> AsyncIterator[Progress | Result]:
        for number in range(1000):
            yield Progress(number / 10, "on")
        yield Progress(100, "a step", {"s": {"status": "completed"}})
        yield Result(None)

    caller = Caller()
    await Worker(caller, "user:alice").work_all([Job("j", work)], 1)
    assert [call[2].get("message") for call in caller.calls] == ["on", "a step", None]


async def test_a_worker_that_is_stopped_says_so_of_what_it_had_in_hand() -> None:
    begun = asyncio.Event()

    async def work() -> AsyncIterator[Progress | Result]:
        yield Progress(1, "begun")
        begun.set()
        await asyncio.Event().wait()

    caller = Caller()
    running = asyncio.create_task(Worker(caller, "user:alice").work_all([Job("j", work)], 1))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert [(call[0], call[2].get("error")) for call in caller.calls][1:] == [("job.fail", "its worker was stopped")]


async def test_a_job_without_a_result_has_failed() -> None:
    async def work() -> AsyncIterator[Progress | Result]:
        yield Progress(1, "begun")

    caller = Caller()
    assert await Worker(caller, "user:alice").work_all([Job("j", work)], 1) == ["j"]
    assert str(JobFailed("why", "step")) == "why"
