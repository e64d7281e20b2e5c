"""Waiting for what happens elsewhere: with a deadline, and without guessing how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")

LOOK_EVERY_S = 0.02


async def eventually(is_so: Callable[[], object], within_s: float = 10.0) -> None:
    """Returns once `is_so()` is true; fails the test after `within_s`."""

    async def look() -> None:
        assert is_so()

    await answered(look, AssertionError, within_s=within_s)


async def answered(call: Callable[[], Awaitable[Result]], *failures: type[Exception], within_s: float = 20.0) -> Result:
    """Calls again after each of `failures`, as a service does, until there is a result."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                return await call()
            except failures:
                await asyncio.sleep(LOOK_EVERY_S)
