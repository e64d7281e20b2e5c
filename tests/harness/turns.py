"""Whether others get their turn while something works: what holds the loop holds everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def turns_of_others() -> Iterator[Callable[[], int]]:
    """Yields a count of the loop's turns so far."""
    loop, turns = asyncio.get_running_loop(), 0

    def turn() -> None:
        nonlocal turns, next_turn
        turns += 1
        next_turn = loop.call_soon(turn)

    next_turn = loop.call_soon(turn)
    try:
        yield lambda: turns
    finally:
        next_turn.cancel()
