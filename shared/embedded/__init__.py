"""All backends within one process, on SQLite: what `carillon dev` and small installations run on.

Nothing here is a stand-in: a confirmed publish survives `kill -9`, what was not acknowledged comes
again, and the log is fenced as in production. The one difference is that it serves one process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from shared.embedded.broker import SqliteBroker, open_broker
from shared.embedded.event_log import SqliteEventLog, open_event_log
from shared.embedded.folder import own_folder
from shared.embedded.journeys import SqliteJourneyStore, open_journey_store
from shared.embedded.producers import SqliteProducerStore, open_producer_store
from shared.embedded.read_models import SqliteReadModels, open_read_models
from shared.embedded.sessions import SqliteSessionStore, open_session_store

__all__ = [
    "JOURNEYS_FILE",
    "LOG_FILE",
    "MODELS_FILE",
    "PRODUCERS_FILE",
    "SqliteBroker",
    "SqliteEventLog",
    "SqliteReadModels",
    "SqliteSessionStore",
    "open_embedded",
]


LOG_FILE = "log.db"
MODELS_FILE = "models.db"
JOURNEYS_FILE = "journeys.db"
PRODUCERS_FILE = "producers.db"


Opened = tuple[
    SqliteBroker, SqliteEventLog, SqliteSessionStore, SqliteReadModels, SqliteJourneyStore, SqliteProducerStore
]


@asynccontextmanager
async def open_embedded(
    data_dir: Path | None,
) -> AsyncIterator[Opened]:
    """Opens all that is kept in `data_dir`, made where there is none; None keeps it in memory.

    Raises `InvalidInput` when another process has the folder or it cannot be written, and
    `LogUnavailable` or `BrokerUnavailable` when one of its files cannot be used.
    """
    async with AsyncExitStack() as opened:
        if data_dir is not None:
            opened.enter_context(own_folder(data_dir))
        log = await opened.enter_async_context(open_event_log(data_dir and data_dir / LOG_FILE))
        sessions = await opened.enter_async_context(open_session_store(data_dir and data_dir / "sessions.db"))
        models = await opened.enter_async_context(open_read_models(data_dir and data_dir / MODELS_FILE))
        journeys = await opened.enter_async_context(open_journey_store(data_dir and data_dir / JOURNEYS_FILE))
        producers = await opened.enter_async_context(open_producer_store(data_dir and data_dir / PRODUCERS_FILE))
        broker = await opened.enter_async_context(open_broker(data_dir and data_dir / "broker.db"))
        yield broker, log, sessions, models, journeys, producers
