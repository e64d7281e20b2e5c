"""The log without the broker, for tools that look at it while the services run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.ports.event_log import EventLog


@asynccontextmanager
async def open_log(settings: Settings, *, make: bool = False) -> AsyncIterator[EventLog]:
    """The log that `settings` name; an embedded one also while another process has its folder.

    SQLite shares the file between processes, where the embedded broker cannot. Raises `InvalidInput`
    where there is no embedded log, unless it shall be made: looking must not make one.
    """
    if settings.backends == "embedded":
        from shared.embedded.event_log import open_event_log as open_embedded_log

        path = settings.data_dir and settings.data_dir / "log.db"
        if make and path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif path is None or not path.exists():
            where = settings.data_dir or "CARILLON_DATA_DIR"
            raise InvalidInput("--data", f"there is no log in {where}", "name the folder of carillon dev")
        async with open_embedded_log(path) as event_log:
            yield event_log
    else:
        from shared.mongo.event_log import open_event_log as open_mongo_log

        async with open_mongo_log(settings) as event_log:
            yield event_log
