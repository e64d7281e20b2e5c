"""The log and its read models without the broker, for tools that look at them while the services run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.model.settings import Settings
from shared.ports.event_log import EventLog
from shared.ports.read_models import ReadModels
from shared.wiring.kept_files import kept_file


@asynccontextmanager
async def open_log(settings: Settings, *, make: bool = False) -> AsyncIterator[EventLog]:
    """The log that `settings` name; an embedded one also while another process has its folder.

    SQLite shares the file between processes, where the embedded broker cannot. Raises `InvalidInput`
    where there is no embedded log, unless it shall be made: looking must not make one.
    """
    if settings.backends == "embedded":
        from shared.embedded import LOG_FILE
        from shared.embedded.event_log import open_event_log as open_embedded_log

        path = kept_file(settings, LOG_FILE, "is no log", make=make)
        async with open_embedded_log(path) as event_log:
            yield event_log
    else:
        from shared.mongo.event_log import open_event_log as open_mongo_log

        async with open_mongo_log(settings) as event_log:
            yield event_log


@asynccontextmanager
async def open_read_models(settings: Settings) -> AsyncIterator[ReadModels]:
    """The read models beside that log, which is open already."""
    if settings.backends == "embedded":
        from shared.embedded import MODELS_FILE
        from shared.embedded.read_models import open_read_models as open_embedded_models

        async with open_embedded_models(settings.data_dir and settings.data_dir / MODELS_FILE) as models:
            yield models
    else:
        from shared.mongo.read_models import open_read_models as open_mongo_models

        async with open_mongo_models(settings) as mongo_models:
            yield mongo_models
