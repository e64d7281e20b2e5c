"""The frame that a service's process runs in: its loop, its signals, its memory, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from shared.model.errors import CarillonError, InvalidInput

# Live objects between two passes of the cyclic collector; Python's 700 is made for scripts.
COLLECT_EVERY_OBJECTS = 20_000
# By then a service has loaded and opened what it keeps for as long as it lives.
STARTED_AFTER_S = 2.0
# Heaps of glibc's allocator: one for the loop, one for the threads of the database drivers.
MAX_HEAPS = 2
# What is as large comes from the system by itself, and goes back to it: pages of the log, replies of a database.
LARGE_BLOCK_BYTES = 128 * 1024

# mallopt(3)
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs a service until it ends by itself or SIGTERM or SIGINT sets the event it is given.

    A second SIGINT ends the process at once. A `CarillonError` becomes one line on standard error
    and exit status 2 for bad input, 1 for the rest.
    """
    _spare_heaps()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_until_signalled(main))
    except CarillonError as failed:
        _exit_with(failed)
    except BaseExceptionGroup as group:
        # Task groups wrap: a port that is taken is still one line.
        _, unknown = group.split(CarillonError)
        known = _first(group, CarillonError)
        if unknown is not None or known is None:
            raise
        _exit_with(known)


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stopping = asyncio.Event()

    def interrupt() -> None:
        if stopping.is_set():
            os._exit(EXIT_INTERRUPTED)
        stopping.set()

    loop = asyncio.get_running_loop()
    # The loops of Windows know no signal handlers; Ctrl-C is a KeyboardInterrupt there.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
    _spare_collector(loop)
    await main(stopping)


def _spare_collector(loop: asyncio.AbstractEventLoop) -> None:
    """Has the cyclic collector run seldom, and never again over what the start left behind.

    Each full pass over some 300,000 objects of imported code stopped the process for 50 ms and more:
    a fifth of the persister's processor time, and most of what was above the median latency.
    """
    gc.set_threshold(COLLECT_EVERY_OBJECTS, *gc.get_threshold()[1:])

    def freeze() -> None:
        gc.collect()
        gc.freeze()

    loop.call_later(STARTED_AFTER_S, freeze)


def _spare_heaps() -> None:
    """Has threads share few heaps, and keeps large blocks out of them; elsewhere than with glibc nothing changes.

    By itself glibc gives each of up to eight threads a core a heap of its own, has blocks of up to 32 MiB come from
    it once one such was freed, and gives little back: an edge with 40 MiB of live memory grew by 70 in ten minutes,
    all of it free.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, MAX_HEAPS)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _first(error: BaseException, wanted: type[CarillonError]) -> CarillonError | None:
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (_first(inner, wanted) for inner in error.exceptions)), None)
    return error if isinstance(error, wanted) else None


def _exit_with(failed: CarillonError) -> None:
    print(f"carillon: {failed}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT if isinstance(failed, InvalidInput) else EXIT_FAILED)
