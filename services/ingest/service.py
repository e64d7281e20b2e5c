"""Ingest as a process."""

from __future__ import annotations

import asyncio
import logging

from quart import Blueprint

from services.ingest import routes
from services.ingest.publisher import Publisher
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.telemetry import tracing
from shared.web.app import make_app
from shared.web.keys import ApiKeys
from shared.web.server import serve
from shared.wiring import open_backends

DEFAULT_PORT = 8081
PRODUCERS_SETTING = "CARILLON_PRODUCER_KEYS"
# A publish that is under way ends within the backends' own bounds; this much for the rest.
STOP_GRACE_MARGIN_S = 1.0

_log = logging.getLogger(__name__)


def blueprint(broker: Broker, event_log: EventLog, settings: Settings, producers: ApiKeys | None = None) -> Blueprint:
    """Ingest's routes over these backends.

    Args:
        producers: who may publish; the settings' keys where left out. Raises `InvalidInput` for bad ones.
    """
    publisher = Publisher(broker, event_log, settings.max_event_bytes)
    return routes.blueprint(publisher, producers or producers_of(settings), settings.max_event_bytes)


def producers_of(settings: Settings) -> ApiKeys:
    """Who may publish, as the settings say. Raises `InvalidInput`."""
    return ApiKeys(settings.producers(), PRODUCERS_SETTING)


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set; publishes under way are answered first."""
    tracing.set_up("ingest")
    producers = producers_of(settings)
    if not len(producers):
        _log.warning("no producer can publish: set CARILLON_PRODUCER_KEYS to name=key,name2=key2")
    async with open_backends(settings) as backends:
        routes_here = blueprint(backends.broker, backends.event_log, settings, producers)
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("ingest", settings, routes_here, probes=probes)
        grace_s = 2 * settings.backend_timeout_s + STOP_GRACE_MARGIN_S
        port = DEFAULT_PORT if settings.port is None else settings.port
        await serve(app, settings, port, stopping, grace_s=grace_s)
