"""The persister as a process: its loops, and a small HTTP side for its health."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from functools import partial
from typing import TYPE_CHECKING

from services.persister.dispatcher import Dispatcher
from services.persister.lag import Lag
from services.persister.projections.follower import Follower
from services.persister.projections.health import stopped_probe
from services.persister.retention import READERS_GONE_TIMEOUTS, Policy, Retention, followed
from services.persister.tenure import Tenure
from services.persister.writer import Writer
from shared.folds import PROJECTIONS
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.server import serve
from shared.wiring import open_backends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.folds.projection import Projection
    from shared.model.settings import Settings
    from shared.web.health import Probe
    from shared.wiring import Backends

DEFAULT_PORT = 8084
# Health checks end at once; nothing else is served.
STOP_GRACE_S = 1.0


async def persist(
    settings: Settings,
    backends: Backends,
    lag: Lag | None = None,
    projections: Sequence[Projection] = PROJECTIONS,
) -> None:
    """Runs the persister's loops until cancelled. The death of one is the death of all. Raises `InvalidInput`."""
    broker, event_log, models = backends.broker, backends.event_log, backends.read_models
    policy = Policy.of(settings)
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    tenure = Tenure(event_log, broker, owner, settings.lease_s)
    async with asyncio.TaskGroup() as loops:
        loops.create_task(tenure.keep(), name="persister-tenure")
        loops.create_task(Writer(broker, event_log, tenure, settings).run(), name="persister-writer")
        loops.create_task(Dispatcher(broker, event_log, tenure).run(), name="persister-dispatcher")
        if lag is not None:
            loops.create_task(lag.run(), name="persister-lag")
        if policy.forgets_anything:
            wait_s = READERS_GONE_TIMEOUTS * settings.backend_timeout_s
            retention = Retention(event_log, tenure, policy, partial(followed, event_log, models), wait_s)
            loops.create_task(retention.run(), name="persister-retention")
        for projection in projections:
            follower = Follower(projection, event_log, models, tenure)
            loops.create_task(follower.run(), name=f"persister-projection-{projection.model.name}")


def probes(backends: Backends, lag: Lag) -> Mapping[str, Probe]:
    """What `/readyz` asks of a process that persists."""
    return {
        "broker": backends.broker.ping,
        "log": backends.event_log.head,
        "lag": lag.probe,
        "projections": stopped_probe(backends.read_models),
    }


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Persists until `stopping` is set. What was not acknowledged by then comes again."""
    async with open_backends(settings) as backends, exporting("persister", settings, backends.journeys):
        lag = Lag(backends, settings.lag_max_s)
        app = make_app("persister", settings, probes=probes(backends, lag))
        persisting = asyncio.create_task(persist(settings, backends, lag), name="persister")
        persisting.add_done_callback(lambda _: stopping.set())
        try:
            port = DEFAULT_PORT if settings.port is None else settings.port
            await serve(app, settings, port, stopping, grace_s=STOP_GRACE_S)
        finally:
            persisting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await persisting
