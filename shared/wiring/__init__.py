"""Which adapters a process runs on: the only place that names one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.ports.journeys import JourneyStore
from shared.ports.producers import ProducerStore
from shared.ports.read_models import ReadModels
from shared.ports.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class Backends:
    """What a service needs to have a broker, a log and its read models, and an edge to know of the others."""

    broker: Broker
    event_log: EventLog
    sessions: SessionStore
    read_models: ReadModels
    journeys: JourneyStore
    producers: ProducerStore


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[Backends]:
    """The backends that `settings.backends` names, closed at the end.

    Opening the production ones needs no server: a service starts, says that it is alive, and tells
    whether it is ready by asking them. What they need in the servers is made at the first call.
    """
    async with AsyncExitStack() as stack:
        # Imported here, so that a process loads only the drivers that it uses.
        if settings.backends == "embedded":
            from shared.embedded import open_embedded

            yield Backends(*await stack.enter_async_context(open_embedded(settings.data_dir)))
        else:
            from shared.mongo.event_log import open_event_log
            from shared.mongo.journeys import open_journey_store
            from shared.mongo.producers import open_producer_store
            from shared.mongo.read_models import open_read_models
            from shared.mongo.sessions import open_session_store
            from shared.rabbit.broker import open_broker

            broker = await stack.enter_async_context(open_broker(settings))
            event_log = await stack.enter_async_context(open_event_log(settings))
            sessions = await stack.enter_async_context(open_session_store(settings))
            read_models = await stack.enter_async_context(open_read_models(settings))
            journeys = await stack.enter_async_context(open_journey_store(settings))
            producers = await stack.enter_async_context(open_producer_store(settings))
            yield Backends(broker, event_log, sessions, read_models, journeys, producers)
