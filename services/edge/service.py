"""The edge as a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr
from quart import Blueprint

from services.edge import routes
from services.edge.edge import Edge
from services.edge.routes import Doorkeeper
from services.edge.sessions import SessionCookie
from services.edge.tickets import Tickets
from services.edge.tokens import Token, verify_token
from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.telemetry import tracing
from shared.web.app import make_app
from shared.web.keys import ApiKeys
from shared.web.server import serve
from shared.wiring import Backends, open_backends

DEFAULT_PORT = 8082
# What the process may take beyond its drain: the last frames, and closing the backends.
STOP_GRACE_S = 5.0


def blueprint(edge: Edge, settings: Settings) -> Blueprint:
    """The edge's routes with the secrets of the settings. Raises `InvalidInput` where one is missing."""
    return routes.blueprint(edge, _doorkeeper(edge, settings))


def _doorkeeper(edge: Edge, settings: Settings) -> Doorkeeper:
    signing = _needed("CARILLON_SESSION_SECRET", settings.session_secret)
    former = settings.session_secret_previous
    cookie = SessionCookie(
        [signing, *([former.get_secret_value()] if former else [])],
        settings.session_ttl_s,
        secure=settings.cookie_secure,
    )
    jwt_secret = _needed("CARILLON_JWT_SECRET", settings.jwt_secret)

    async def verify(token: str) -> Token:
        return verify_token(token, jwt_secret, issuer=settings.jwt_issuer, audience=settings.jwt_audience)

    return Doorkeeper(
        cookie,
        Tickets(edge.store, cookie, settings.ticket_ttl_s),
        verify,
        ApiKeys(settings.operators(), "CARILLON_OPERATOR_KEYS"),
    )


def _needed(name: str, secret: SecretStr | None) -> str:
    if secret is None:
        raise InvalidInput(name, "it is not set", "make one with: openssl rand -hex 32")
    return secret.get_secret_value()


@asynccontextmanager
async def open_edge(settings: Settings, backends: Backends, stopping: asyncio.Event) -> AsyncIterator[Edge]:
    """An edge that begins to drain as soon as `stopping` is set."""
    edge = Edge(settings, backends)

    async def drain_when_stopping() -> None:
        await stopping.wait()
        await edge.drain()

    draining = asyncio.create_task(drain_when_stopping(), name="edge-drain")
    presence = asyncio.create_task(edge.presence.run(), name="edge-presence")
    try:
        yield edge
    finally:
        stopping.set()
        await draining
        presence.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await presence
        await edge.presence.say_goodbye()


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set, then drains and ends."""
    tracing.set_up("edge")
    async with open_backends(settings) as backends, open_edge(settings, backends, stopping) as edge:
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("edge", settings, blueprint(edge, settings), probes=probes)
        port = DEFAULT_PORT if settings.port is None else settings.port
        await serve(app, settings, port, stopping, grace_s=STOP_GRACE_S)
