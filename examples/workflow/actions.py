"""What steps can do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


class StepFailed(Exception):
    """The step did not do what it was to do; may be tried again."""


@dataclass(frozen=True)
class Context:
    """What an action knows of its try."""

    step: str
    attempt: int
    """1 for the first try."""
    chance: random.Random
    """The same numbers for the same seed, step and try, whatever runs beside it."""
    pace: float
    """Real seconds for each simulated one."""


def run_command(command: str) -> Callable[[Context], Awaitable[str]]:
    """Runs a line of shell. Its status decides; the last line of what it says is the reason."""

    async def action(context: Context) -> str:
        process = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = output.decode(errors="replace").strip().rpartition("\n")[2]
            raise StepFailed(last[:200] or f"it ended with status {process.returncode}")
        return "done"

    return action


def simulated(
    takes_s: Sequence[float] = (0.5, 2.0), fails: float = 0.0, outcomes: Sequence[str] = ("done",)
) -> Callable[[Context], Awaitable[str]]:
    """Takes some time, and ends by chance.

    Args:
        takes_s: at least and at most.
        fails: how probable it is that a try fails, from 0 to 1.
    """

    async def action(context: Context) -> str:
        await asyncio.sleep(context.chance.uniform(*takes_s) * context.pace)
        if context.chance.random() < fails:
            raise StepFailed(f"try {context.attempt} failed, as chance would have it")
        return context.chance.choice(list(outcomes))

    return action
