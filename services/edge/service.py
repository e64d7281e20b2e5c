"""The edge as a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from pydantic import SecretStr
from quart import Blueprint

from services.edge import client, inbox_routes, login, receipts, routes, subject_routes
from services.edge.door import Doorkeeper
from services.edge.edge import Edge
from services.edge.sessions import SessionCookie
from services.edge.tickets import Tickets
from services.edge.tokens import TokenVerifier
from shared.identity.issuers import Issuer
from shared.identity.login import Login
from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.keys import ApiKeys
from shared.web.server import serve
from shared.wiring import Backends, open_backends

DEFAULT_PORT = 8082
# What the process may take beyond its drain: the last frames, and closing the backends.
STOP_GRACE_S = 5.0
_SECRET_FIX = "make one with: openssl rand -hex 32"


def blueprints(edge: Edge, settings: Settings) -> list[Blueprint]:
    """The edge's routes, and the login's where there is one.

    Raises `InvalidInput`, naming the setting that is missing or wrong.
    """
    issuer = Issuer(settings.oidc_issuer) if settings.oidc_issuer is not None else None
    cookie = _cookie(settings)
    verifier = TokenVerifier.of(settings, issuer)
    if not verifier.verifies_anything and issuer is None:
        raise InvalidInput("CARILLON_JWT_SECRET", "it is not set, nor is an issuer", _SECRET_FIX)
    tickets = Tickets(edge.store, _secrets(settings), settings.ticket_ttl_s)
    operators = ApiKeys(settings.operators(), "CARILLON_OPERATOR_KEYS")
    door = Doorkeeper(cookie, tickets, verifier.verify, operators)
    served = [
        routes.blueprint(edge, door),
        inbox_routes.blueprint(edge, edge.inbox, door),
        subject_routes.blueprint(edge, door),
        receipts.blueprint(edge, door),
        client.blueprint(),
    ]
    if issuer is not None:
        let_in = partial(door.let_in, edge=edge)
        entrance = login.Entrance(cookie.open, let_in, settings.oidc_tags_claim, settings.session_max_s)
        served.append(login.blueprint(Login(settings, issuer, _secrets(settings), login.LOGIN_PATH), entrance))
    return served


def _cookie(settings: Settings) -> SessionCookie:
    return SessionCookie(_secrets(settings), settings.session_ttl_s, secure=settings.cookie_secure)


def _secrets(settings: Settings) -> list[str]:
    """What signs, and what else verifies."""
    signing = _needed("CARILLON_SESSION_SECRET", settings.session_secret)
    former = settings.session_secret_previous
    return [signing, *([former.get_secret_value()] if former else [])]


def _needed(name: str, secret: SecretStr | None) -> str:
    if secret is None:
        raise InvalidInput(name, "it is not set", _SECRET_FIX)
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
    async with (
        open_backends(settings) as backends,
        exporting("edge", settings, backends.journeys),
        open_edge(settings, backends, stopping) as edge,
    ):
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("edge", settings, *blueprints(edge, settings), probes=probes)
        port = DEFAULT_PORT if settings.port is None else settings.port
        await serve(app, settings, port, stopping, grace_s=STOP_GRACE_S)
