"""Ingest as a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

from quart import Blueprint

from services.ingest import plain, routes
from services.ingest.catalogue import routes as catalogue_pages
from services.ingest.catalogue.reloading import open_catalogue
from services.ingest.producers import Producers
from services.ingest.publisher import Publisher
from services.ingest.reception import Reception
from services.ingest.rpc import amqp
from services.ingest.rpc import routes as rpc
from services.ingest.rpc.answering import Answering
from services.ingest.rules.explaining import explain
from services.ingest.rules.reloading import open_rules
from services.ingest.webhooks import routes as webhooks
from services.ingest.webhooks.sources import open_sources
from shared.model.settings import Settings
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.health import Probe
from shared.web.keys import ApiKeys
from shared.web.server import serve
from shared.wiring import Backends, open_backends

DEFAULT_PORT = 8081
# A publish that is under way ends within the backends' own bounds; this much for the rest.
STOP_GRACE_MARGIN_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Doors:
    """What ingest adds to an app."""

    blueprints: Sequence[Blueprint]
    probes: Mapping[str, Probe]
    """What may be wrong with it besides its backends, for `/readyz`."""


@asynccontextmanager
async def open_ingest(
    settings: Settings, backends: Backends, fixed_keys: ApiKeys | None = None, *, serves_amqp: bool = True
) -> AsyncIterator[Doors]:
    """Ingest's doors over these backends; what they keep open is closed at the end.

    Args:
        fixed_keys: instead of the producers' keys that the settings name.
        serves_amqp: whether requests are also taken from the broker.

    Raises `InvalidInput`, naming the setting or the file, where one is wrong.
    """
    producers = Producers.of(settings, backends.producers, fixed_keys)
    publisher = Publisher(backends.broker, backends.event_log, settings.max_event_bytes)
    async with (
        open_catalogue(settings.catalogue, f"{settings.namespace}.events") as catalogue,
        open_rules(settings.rules) as rules,
        open_sources(settings.webhooks_file) as sources,
    ):
        reception = Reception(
            publisher, settings.backend_timeout_s, rules, lambda event: catalogue.value.catalogue.check(event)
        )
        answering = Answering(reception, lambda event: explain(rules.rules, event), settings.max_event_bytes)
        async with amqp.serving(backends.broker, answering) if serves_amqp else nullcontext():
            blueprints = (
                routes.blueprint(reception, producers, settings),
                rpc.blueprint(answering, producers),
                plain.blueprint(reception, producers),
                webhooks.blueprint(reception, sources, settings.max_event_bytes),
                catalogue_pages.blueprint(catalogue),
            )
            yield Doors(blueprints, {"catalogue": catalogue.probe, "rules": rules.probe, "webhooks": sources.probe})


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set; publishes under way are answered first."""
    async with (
        open_backends(settings) as backends,
        exporting("ingest", settings, backends.journeys),
        open_ingest(settings, backends) as doors,
    ):
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("ingest", settings, *doors.blueprints, probes={**probes, **doors.probes})
        grace_s = 2 * settings.backend_timeout_s + STOP_GRACE_MARGIN_S
        port = DEFAULT_PORT if settings.port is None else settings.port
        await serve(app, settings, port, stopping, grace_s=grace_s)
