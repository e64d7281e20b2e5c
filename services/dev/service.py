"""Ingest, persister, edge and console in one process, on one port."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from pydantic import SecretStr

from services.console.service import open_console
from services.dev import routes
from services.dev.greeting import greeting, prove, sign_in
from services.dev.programs import open_programs
from services.dev.secret import folder_secret
from services.edge.service import blueprints as edge_blueprints
from services.edge.service import open_edge
from services.ingest.producers import PRODUCERS_SETTING
from services.ingest.service import open_ingest
from services.persister.lag import Lag
from services.persister.service import persist, probes
from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.keys import ApiKeys
from shared.web.server import serve
from shared.wiring import Backends, open_backends

DEMO_KEY = "dev"
# Ctrl-C shall feel like Ctrl-C, also with streams open.
STOP_GRACE_S = 2.0


async def run(settings: Settings, stopping: asyncio.Event, *, port: int, data_dir: Path, memory: bool) -> None:
    """Serves until `stopping` is set; prints `ready` once an event published came out of a stream.

    Raises `InvalidInput` for a port that is taken or a folder that cannot be written, and
    `NotWorking` when the event does not arrive.
    """
    secret = _secret(data_dir, memory=memory)
    settings = _dev_settings(settings, secret, None if memory else data_dir)
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with (
        open_backends(settings) as backends,
        exporting("dev", settings, backends.journeys),
        _persisting(settings, backends, stopping) as lag,
        open_edge(settings, backends, stopping) as edge,
        open_ingest(settings, backends, _fixed_keys(settings)) as doors,
        open_console(settings, backends, probes(backends, lag), stopping, demo_key=DEMO_KEY) as console,
        open_programs(DEMO_KEY) as programs,
    ):
        app = make_app(
            "dev",
            settings,
            routes.blueprint(secret, programs),
            # Before ingest, whose `POST /v1/events` has the address, too: of two that answer its
            # OPTIONS the first does, and browsers ask that whether other sites' pages may stream.
            *edge_blueprints(edge, settings),
            *doors.blueprints,
            console,
            probes={**probes(backends, lag), **doors.probes},
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve(app, settings, port, stopping, grace_s=STOP_GRACE_S, on_bound=bound.set_result), name="dev-http"
            )
            tasks.create_task(_announce(bound, secret, settings.data_dir, stopping), name="dev-announce")


async def _announce(bound: asyncio.Future[int], secret: str, data_dir: Path | None, stopping: asyncio.Event) -> None:
    url = f"http://127.0.0.1:{await bound}"
    async with httpx.AsyncClient(base_url=url) as client:
        cookie = await sign_in(client, secret, "alice")
    print(greeting(url, data_dir, cookie), flush=True)
    proving = asyncio.create_task(prove(url, secret), name="dev-proof")
    stopped = asyncio.create_task(stopping.wait(), name="dev-stopping")
    await asyncio.wait((proving, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not proving.done():
        proving.cancel()
        return
    await proving
    print("ready", flush=True)


@contextlib.asynccontextmanager
async def _persisting(settings: Settings, backends: Backends, stopping: asyncio.Event) -> AsyncIterator[Lag]:
    lag = Lag(backends, settings.lag_max_s)
    task = asyncio.create_task(persist(settings, backends, lag), name="persister")
    # A platform without its persister only looks alive.
    task.add_done_callback(lambda _: stopping.set())
    try:
        yield lag
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _secret(data_dir: Path, *, memory: bool) -> str:
    """The folder's also with --memory, so that `carillon token` works; without a folder, one for this run."""
    try:
        return folder_secret(data_dir)
    except InvalidInput:
        if not memory:
            raise
        return secrets.token_hex(32)


def _fixed_keys(settings: Settings) -> ApiKeys:
    keys = settings.producers() | {DEMO_KEY: DEMO_KEY}
    return ApiKeys(keys, PRODUCERS_SETTING, loopback_only={DEMO_KEY})


def _dev_settings(settings: Settings, secret: str, data_dir: Path | None) -> Settings:
    """The embedded backends on loopback, with the folder's secret; all else as the environment says."""
    return settings.model_copy(
        update={
            "backends": "embedded",
            "data_dir": data_dir,
            "host": "127.0.0.1",
            "jwt_secret": SecretStr(secret),
            "session_secret": SecretStr(secret),
            "cookie_secure": False,
            "drain_s": min(settings.drain_s, 1.0),
            # Nobody here publishes fast enough to fill a batch, and somebody watches each event arrive.
            "batch_max_wait_ms": min(settings.batch_max_wait_ms, 2.0),
        }
    )
