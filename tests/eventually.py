"""Waiting for what happens elsewhere: with a deadline, and without guessing how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")

LOOK_EVERY_S = 0.02
# Costs nothing where all is well, and where it is not says so before the test's own time is over. A machine
# that others keep busy stands still for seconds at a time.
WITHIN_S = 60.0


async def eventually(is_so: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Returns once `is_so()` is true; fails the test after `within_s`."""

    async def look() -> None:
        assert is_so()

    await answered(look, AssertionError, within_s=within_s)


async def answered(
    call: Callable[[], Awaitable[Result]], *failures: type[Exception], within_s: float = WITHIN_S
) -> Result:
    """Calls again after each of `failures`, as a service does, until there is a result."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    return await call()
                except failures as failure:
                    last = failure
                    await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise TimeoutError(f"not within {within_s:g} s; the last time: {last!r}") from last
