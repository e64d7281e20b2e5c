"""The console as a process."""

from __future__ import annotations

import asyncio

from services.console.routes import blueprint
from shared.model.settings import Settings
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.server import serve
from shared.wiring import open_backends

__all__ = ["blueprint", "run"]

DEFAULT_PORT = 8083
# Pages are answered within the backends' own bounds.
STOP_GRACE_S = 2.0


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set."""
    async with open_backends(settings) as backends, exporting("console", settings, backends.journeys):
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("console", settings, blueprint(backends.broker, backends.event_log), probes=probes)
        port = DEFAULT_PORT if settings.port is None else settings.port
        await serve(app, settings, port, stopping, grace_s=STOP_GRACE_S)
