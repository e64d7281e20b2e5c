"""The persister's writer without its dispatcher, in a process of its own: what appending alone costs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.persister.tenure import Tenure
from services.persister.writer import Writer
from shared.model.settings import Settings
from shared.web.process import run
from shared.wiring import open_backends
from tests.harness.process import ROOT


@asynccontextmanager
async def writer_alone(given: dict[str, str]) -> AsyncIterator[int]:
    """The process, started; its id. `given` are the `CARILLON_*` of its environment."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.writer_process", env=os.environ | given, cwd=ROOT, start_new_session=True
    )
    try:
        yield child.pid
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def _write(stopping: asyncio.Event) -> None:
    settings = Settings.load()
    async with open_backends(settings) as backends, asyncio.TaskGroup() as loops:
        tenure = Tenure(backends.event_log, backends.broker, "bench", settings.lease_s)
        writer = Writer(backends.broker, backends.event_log, tenure, settings)
        tasks = [loops.create_task(tenure.keep()), loops.create_task(writer.run())]
        await stopping.wait()
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    run(_write)
