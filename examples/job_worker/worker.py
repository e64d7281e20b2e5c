"""Works jobs, several at once, and tells of each by JSON-RPC: `job.progress`, then `job.complete` or `job.fail`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from examples.calls import Caller
from examples.job_worker.jobs import Job, JobFailed, Progress, Result

# Nobody sees more; and a job of a million parts must not be a million events.
TELL_EVERY_S = 0.2


class Worker:
    """Takes one job after the other.

    Args:
        audience: who may see the jobs.
        say: a line for whoever runs this program.
    """

    def __init__(self, caller: Caller, audience: str, say: Callable[[str], None] = print) -> None:
        self._caller, self._audience, self._say = caller, audience, say

    async def work_all(self, jobs: Sequence[Job], at_once: int) -> list[str]:
        """Works all of them; the ids of those that failed."""
        waiting, failed = list(reversed(jobs)), list[str]()

        async def place() -> None:
            while waiting:
                job = waiting.pop()
                if not await self.work(job):
                    failed.append(job.id)

        async with asyncio.TaskGroup() as places:
            for number in range(min(at_once, len(jobs))):
                places.create_task(place(), name=f"place {number}")
        return failed

    async def work(self, job: Job) -> bool:
        """Whether it was done. What is told of it is told in order; each call waits for the one before."""
        telling = _Telling(self._caller, job.id, self._audience)
        try:
            async for each in job.work():
                if isinstance(each, Result):
                    await telling.tell("job.complete", {"result": each.value})
                    self._say(f"{job.id}: done, {each.value}")
                    return True
                await telling.progress(each)
            raise JobFailed("it ended without a result")
        except JobFailed as failed:
            await telling.fail(failed)
            self._say(f"{job.id}: {failed}")
            return False
        except asyncio.CancelledError:
            await telling.fail(JobFailed("its worker was stopped"))
            raise


class _Telling:
    """Numbers what is told of one job: the number is part of the key, so that each is told once."""

    def __init__(self, caller: Caller, job: str, audience: str) -> None:
        self._caller, self._about = caller, {"job": job, "audience": audience}
        self._number = 0
        self._told_at = float("-inf")

    async def progress(self, progress: Progress) -> None:
        """Steps are always told; mere numbers not more often than somebody could see."""
        now = asyncio.get_running_loop().time()
        if progress.steps is None and now < self._told_at + TELL_EVERY_S:
            return
        self._told_at = now
        about: dict[str, Any] = {"progress": round(progress.percent, 1), "message": progress.message}
        await self.tell("job.progress", about | ({"steps": progress.steps} if progress.steps else {}))

    async def fail(self, failed: JobFailed) -> None:
        """The last that is told."""
        steps = {"steps": {failed.step: {"status": "failed", "error": str(failed)}}} if failed.step else {}
        await self.tell("job.fail", {"error": str(failed), **steps})

    async def tell(self, method: str, params: dict[str, Any]) -> None:
        self._number += 1
        await self._caller.call(method, f"{self._about['job']}-{self._number}", self._about | params)
