"""How checks wait: for a condition until a deadline, never for a guess of how long something takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")

# Far beyond what any adapter needs, also over a network on a loaded machine: reaching it is a failure.
DEADLINE_S = 60.0
# How long a check watches that something does not happen.
QUIET_S = 0.3
# Between two looks; short beside every wait, long beside a look.
LOOK_EVERY_S = 0.01


async def within_deadline(answer: Awaitable[Answer], promise: str) -> Answer:
    """The answer, or an `AssertionError` naming the promise."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await answer
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:.0f} s: {promise}") from None


async def eventually(holds: Callable[[], bool], promise: str) -> None:
    """Returns once the condition holds."""

    async def ask() -> bool | None:
        return holds() or None

    await eventually_some(ask, promise)


async def eventually_some(ask: Callable[[], Awaitable[Answer | None]], promise: str) -> Answer:
    """The first answer that is not None."""

    async def look() -> Answer:
        while (answer := await ask()) is None:  # noqa: ASYNC110  # a port tells what is, not when it becomes so
            await asyncio.sleep(LOOK_EVERY_S)
        return answer

    return await within_deadline(look(), promise)


async def steadily(ask: Callable[[], Awaitable[bool]], for_s: float, promise: str) -> None:
    """Returns when every look within `for_s` seconds found the condition to hold."""
    clock = asyncio.get_running_loop().time
    until = clock() + for_s
    while clock() < until:
        assert await ask(), promise
        await asyncio.sleep(LOOK_EVERY_S)
