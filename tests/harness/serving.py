"""An app on a port of this machine, as a process would serve it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quart import Quart

from shared.model.settings import Settings
from shared.web.server import serve

STOPPED_WITHIN_S = 60.0


@asynccontextmanager
async def serving(
    app: Quart, settings: Settings | None = None, stopping: asyncio.Event | None = None, *, grace_s: float = 1.0
) -> AsyncIterator[int]:
    """Yields the port, a free one; told to stop at the end.

    Args:
        stopping: what tells it to stop before the end.
        grace_s: as `serve` takes it.
    """
    stopping = stopping or asyncio.Event()
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        serve(app, settings or Settings(), 0, stopping, grace_s=grace_s, on_bound=bound.set_result), name="server"
    )
    try:
        yield await bound
    finally:
        stopping.set()
        async with asyncio.timeout(STOPPED_WITHIN_S):
            await server
