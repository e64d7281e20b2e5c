"""The console as a process, and as a part of `carillon dev`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from services.console.gate import Gate
from services.console.live import Islands
from services.console.operators import OperatorCookie, Operators
from services.console.replays import Replays
from services.console.routes import Console
from services.console.routes import blueprint as pages
from services.console.sampling import Sampler
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.server import serve
from shared.wiring import open_backends

if TYPE_CHECKING:
    from quart import Blueprint

    from shared.model.settings import Settings
    from shared.web.health import Probe
    from shared.wiring import Backends

DEFAULT_PORT = 8083
# Pages are answered within the backends' own bounds.
STOP_GRACE_S = 2.0
DEMO_OPERATOR = "demo"


@contextlib.asynccontextmanager
async def open_console(
    settings: Settings,
    backends: Backends,
    probes: Mapping[str, Probe],
    stopping: asyncio.Event,
    *,
    demo_key: str | None = None,
) -> AsyncIterator[Blueprint]:
    """`/console`, which samples the platform for as long as it is open.

    Args:
        probes: the parts whose health the overview tells.
        demo_key: of an operator whom the login page offers, to clients on this machine.
    """
    demo = {} if demo_key is None else {DEMO_OPERATOR: demo_key}
    operators = Operators(settings.operators() | demo, settings.viewers(), loopback_only=demo)
    secret = settings.session_secret.get_secret_value() if settings.session_secret else None
    cookie = OperatorCookie(secret, operators, secure=settings.cookie_secure)
    sampler = Sampler(backends, settings.console_metrics_urls, settings.backend_timeout_s)
    replays = Replays(backends.event_log, backends.broker, settings.max_event_bytes)
    console = Console(
        backends, sampler, operators, Islands(stopping), probes, settings.backend_timeout_s, settings.max_event_bytes,
        replays,
    )  # fmt: skip
    sampling = asyncio.create_task(sampler.run(), name="console-sampler")
    try:
        yield pages(console, Gate(operators, cookie, demo_key))
    finally:
        await replays.close()
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set."""
    async with open_backends(settings) as backends, exporting("console", settings, backends.journeys):
        probes: Mapping[str, Probe] = {"broker": backends.broker.ping, "log": backends.event_log.head}
        async with open_console(settings, backends, probes, stopping) as console:
            app = make_app("console", settings, console, probes=probes)
            port = DEFAULT_PORT if settings.port is None else settings.port
            await serve(app, settings, port, stopping, grace_s=STOP_GRACE_S)
