"""Fresh backends under names of their own on the configured servers, to certify a deployment with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, TypeVar

from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.ports.journeys import JourneyStore
from shared.ports.producers import ProducerStore
from shared.ports.read_models import ReadModels
from shared.ports.sessions import SessionStore

Port_co = TypeVar("Port_co", covariant=True)


class Opens(Protocol[Port_co]):
    """Opens one client after another over the same storage."""

    def client(self) -> AbstractAsyncContextManager[Port_co]: ...


def throwaway_log(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Opens[EventLog]]]:
    """Makes fresh logs where `settings` keep theirs; each is removed when it is left."""
    if settings.backends == "embedded":
        from shared.embedded import throwaway as embedded

        return partial(embedded.throwaway_log, settings.data_dir)
    from shared.mongo import throwaway as mongo

    return partial(mongo.throwaway_log, settings)


def throwaway_broker(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Opens[Broker]]]:
    """Makes fresh brokers where `settings` have theirs; each is removed when it is left."""
    if settings.backends == "embedded":
        from shared.embedded import throwaway as embedded

        return partial(embedded.throwaway_broker, settings.data_dir)
    from shared.rabbit.throwaway import throwaway_namespace

    return partial(throwaway_namespace, settings)


def throwaway_sessions(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Opens[SessionStore]]]:
    """Makes fresh session stores where `settings` have theirs; each is removed when it is left."""
    if settings.backends == "embedded":
        from shared.embedded import throwaway as embedded

        return partial(embedded.throwaway_sessions, settings.data_dir)
    from shared.mongo import throwaway as mongo

    return partial(mongo.throwaway_sessions, settings)


def throwaway_read_models(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Opens[ReadModels]]]:
    """Makes fresh read models where `settings` keep theirs; each is removed when it is left."""
    if settings.backends == "embedded":
        from shared.embedded import throwaway as embedded

        return partial(embedded.throwaway_read_models, settings.data_dir)
    from shared.mongo import throwaway as mongo

    return partial(mongo.throwaway_read_models, settings)


def throwaway_journeys(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Opens[JourneyStore]]]:
    """Makes fresh journey stores where `settings` have theirs; each is removed when it is left."""
    if settings.backends == "embedded":
        from shared.embedded import throwaway as embedded

        return partial(embedded.throwaway_journeys, settings.data_dir)
    from shared.mongo import throwaway as mongo

    return partial(mongo.throwaway_journeys, settings)


def throwaway_producers(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Opens[ProducerStore]]]:
    """Makes fresh stores of producers' keys where `settings` have theirs; each is removed when it is left."""
    if settings.backends == "embedded":
        from shared.embedded import throwaway as embedded

        return partial(embedded.throwaway_producers, settings.data_dir)
    from shared.mongo import throwaway as mongo

    return partial(mongo.throwaway_producers, settings)
