"""Waiting for what comes by way of the log: a look every few milliseconds, for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.model.errors import LogUnavailable

# Appended and folded within some milliseconds; a look costs one query.
LOOK_EVERY_S = 0.02

Result = TypeVar("Result")


async def found(look: Callable[[], Awaitable[Result | None]], within_s: float, missing: str) -> Result:
    """The first answer of `look` that is not None. Raises `LogUnavailable`, saying what is missing, after `within_s`.

    A storage that is slow makes it fewer looks, and not a longer wait.
    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                if (result := await look()) is not None:
                    return result
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise LogUnavailable(missing) from None
