"""The console as a process, and as a part of `carillon dev`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from services.console.gate import LOGIN, Gate
from services.console.live import Islands
from services.console.login import OperatorLogin
from services.console.operators import OperatorCookie, Operators
from services.console.replays import Replays
from services.console.roles import Roles
from services.console.routes import Console
from services.console.routes import blueprint as pages
from services.console.sampling import Sampler
from shared.identity.issuers import Issuer
from shared.identity.login import Login
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
    gate, login = _doors(
        settings, Operators(settings.operators() | demo, settings.viewers(), loopback_only=demo), demo_key
    )
    sampler = Sampler(backends, settings.console_metrics_urls, settings.backend_timeout_s)
    replays = Replays(backends.event_log, backends.broker, settings.max_event_bytes)
    console = Console(
        backends, sampler, Islands(stopping), probes, settings.backend_timeout_s, settings.max_event_bytes,
        replays,
    )  # fmt: skip
    sampling = asyncio.create_task(sampler.run(), name="console-sampler")
    try:
        yield pages(console, gate, login)
    finally:
        await replays.close()
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling


def _doors(settings: Settings, operators: Operators, demo_key: str | None) -> tuple[Gate, OperatorLogin | None]:
    """By key, and by role where there are roles."""
    roles, secrets_ = Roles.of(settings), _secrets(settings)
    rules = operators.fingerprint + repr(roles).encode(errors="backslashreplace")
    cookie = OperatorCookie(secrets_, rules, settings.console_session_s, secure=settings.cookie_secure)
    if roles is None:
        return Gate(operators, cookie, demo_key), None
    gate = Gate(operators, cookie, demo_key, roles.issuer)
    return gate, OperatorLogin(Login(settings, Issuer(roles.issuer), secrets_, LOGIN), roles, gate.let_in)


def _secrets(settings: Settings) -> list[str]:
    """What signs cookies, and what else verifies; without any a new one, so that a restart ends the sessions."""
    given = [settings.session_secret, settings.session_secret_previous]
    return [each.get_secret_value() for each in given if each is not None] or [secrets.token_hex(32)]


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set."""
    async with open_backends(settings) as backends, exporting("console", settings, backends.journeys):
        probes: Mapping[str, Probe] = {"broker": backends.broker.ping, "log": backends.event_log.head}
        async with open_console(settings, backends, probes, stopping) as console:
            app = make_app("console", settings, console, probes=probes)
            port = DEFAULT_PORT if settings.port is None else settings.port
            await serve(app, settings, port, stopping, grace_s=STOP_GRACE_S)
