"""The producers' keys without the rest, for the command that hands them out while the services run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.model.settings import Settings
from shared.ports.producers import ProducerStore
from shared.wiring.kept_files import kept_file


@asynccontextmanager
async def open_producers(settings: Settings, *, make: bool = False) -> AsyncIterator[ProducerStore]:
    """The producers' keys that `settings` name; embedded ones also while another process has their folder.

    Raises `InvalidInput` where there is no folder, unless it shall be made.
    """
    if settings.backends == "embedded":
        from shared.embedded import PRODUCERS_FILE
        from shared.embedded.producers import open_producer_store as open_embedded_store

        path = kept_file(settings, PRODUCERS_FILE, "are no producers' keys", make=make)
        async with open_embedded_store(path) as store:
            yield store
    else:
        from shared.mongo.producers import open_producer_store as open_mongo_store

        async with open_mongo_store(settings) as mongo_store:
            yield mongo_store
