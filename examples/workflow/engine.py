"""Executes a run: as many steps at once as the plan allows, each change told as it happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from examples.workflow.actions import Context, StepFailed
from examples.workflow.definition import Step, Workflow
from examples.workflow.run import Change, Run

# Before a step is tried again, times the number of tries so far; in simulated seconds.
RETRY_PAUSE_S = 0.5

Tell = Callable[[Change], Awaitable[None]]


class Engine:
    """Executes workflows.

    Args:
        tell: takes each change, in order.
        seed: the same seed lets the same steps fail, at the same tries.
        pace: real seconds for each simulated one; 0 is as fast as it goes.
    """

    def __init__(self, tell: Tell, seed: int, pace: float = 1.0) -> None:
        self._tell, self._seed, self._pace = tell, seed, pace

    async def execute(self, workflow: Workflow) -> Run:
        """Runs it to its end. Cancelled, it tells so first."""
        run = Run(workflow)
        await self._tell(run.begun())
        try:
            await self._go_on(run)
        except asyncio.CancelledError:
            await self._tell(run.abandoned())
            raise
        await self._tell(run.ended())
        return run

    async def _go_on(self, run: Run) -> None:
        """Begins what can begin, waits for one of them, and looks again."""
        at_work: set[asyncio.Task[None]] = set()
        try:
            while not run.has_ended:
                for step in run.skipped():
                    await self._tell(run.cancel(step))
                for step in run.ready():
                    await self._tell(run.start(step, 1))
                    at_work.add(asyncio.create_task(self._carry_out(run, step), name=f"step {step.id}"))
                if at_work:
                    done, at_work = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
        finally:
            for task in at_work:
                task.cancel()
            await asyncio.gather(*at_work, return_exceptions=True)

    async def _carry_out(self, run: Run, step: Step) -> None:
        for attempt in range(1, step.retries + 2):
            try:
                outcome = await self._try(step, attempt)
            except StepFailed as failed:
                if attempt > step.retries:
                    await self._tell(run.fail(step, str(failed)))
                    return
                await self._tell(run.retry(step, attempt + 1, str(failed)))
                await asyncio.sleep(RETRY_PAUSE_S * attempt * self._pace)
            else:
                await self._tell(run.complete(step, outcome))
                return

    async def _try(self, step: Step, attempt: int) -> str:
        # A generator of its own for each try: what runs beside it must not take its numbers.
        chance = random.Random(f"{self._seed}/{step.id}/{attempt}")
        try:
            async with asyncio.timeout(step.timeout_s):
                return await step.action(Context(step.id, attempt, chance, self._pace))
        except TimeoutError:
            raise StepFailed(f"it took longer than {step.timeout_s:g} s") from None
