"""An edge inside the test's own process, on embedded backends in memory: for what must be seen from both sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from quart import Quart

from services.edge.edge import Edge
from services.edge.service import blueprints, open_edge
from services.edge.tokens import sign_token
from services.persister.service import persist
from shared.model.event import Event
from shared.model.settings import Settings
from shared.web.app import make_app
from shared.wiring import Backends, open_backends
from tests.harness.publisher import new_event
from tests.harness.serving import serving

OPERATOR_KEY = "harness-operator"
GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class OwnEdge:
    """An edge, its app, and what its clients need."""

    app: Quart
    edge: Edge
    settings: Settings
    backends: Backends
    stopping: asyncio.Event

    def bearer(self, user: str = "alice", **claims: Any) -> dict[str, str]:
        """The header that opens a stream of this user's."""
        assert self.settings.jwt_secret is not None
        token = sign_token(self.settings.jwt_secret.get_secret_value(), user, **claims)
        return {"Authorization": f"Bearer {token}"}

    async def publish(self, audience: str = "user:alice", **attributes: Any) -> str:
        """Publishes past ingest; returns the event's id."""
        event = new_event(audience, **attributes)
        await self.backends.broker.publish(Event.from_json(json.dumps(event).encode(), max_bytes=8 * 1024 * 1024))
        return str(event["id"])


@asynccontextmanager
async def own_edge(*, persisting: bool = True, **settings: object) -> AsyncIterator[OwnEdge]:
    """An edge with its persister unless told otherwise, not served yet; it drains when it is left."""
    chosen: dict[str, object] = {
        "backends": "embedded",
        "jwt_secret": secrets.token_hex(32),
        "session_secret": secrets.token_hex(32),
        "operator_keys": f"harness={OPERATOR_KEY}",
        "cookie_secure": "false",
        "drain_s": 0.2,
    } | settings
    loaded, stopping = Settings.load(**chosen), asyncio.Event()
    async with (
        open_backends(loaded) as backends,
        own_persister(loaded, backends) if persisting else contextlib.nullcontext(),
        open_edge(loaded, backends, stopping) as edge,
    ):
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("edge", loaded, *blueprints(edge, loaded), probes=probes)
        yield OwnEdge(app, edge, loaded, backends, stopping)


@asynccontextmanager
async def served(own: OwnEdge) -> AsyncIterator[int]:
    """The edge on a free loopback port, as a process would serve it; told to stop at the end."""
    async with serving(own.app, own.settings, own.stopping, grace_s=GRACE_S) as port:
        yield port


@asynccontextmanager
async def own_persister(settings: Settings, backends: Backends) -> AsyncIterator[None]:
    persister = asyncio.create_task(persist(settings, backends), name="own-persister")
    try:
        yield
    finally:
        persister.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await persister
