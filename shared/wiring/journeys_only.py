"""The journeys without broker and log, for tools that look at them while the services run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.model.settings import Settings
from shared.ports.journeys import JourneyStore
from shared.wiring.kept_files import kept_file


@asynccontextmanager
async def open_journeys(settings: Settings) -> AsyncIterator[JourneyStore]:
    """The journeys that `settings` name; embedded ones also while another process has their folder.

    Raises `InvalidInput` where there are no embedded ones: looking must not make them.
    """
    if settings.backends == "embedded":
        from shared.embedded import JOURNEYS_FILE
        from shared.embedded.journeys import open_journey_store as open_embedded_journeys

        path = kept_file(settings, JOURNEYS_FILE, "are no journeys")
        async with open_embedded_journeys(path) as journeys:
            yield journeys
    else:
        from shared.mongo.journeys import open_journey_store

        async with open_journey_store(settings) as journeys:
            yield journeys
