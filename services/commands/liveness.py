"""Whether the platform moves: what waits, what is behind, what its services say of themselves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from services.commands.check import Check, checked
from services.persister.lag import Behind, behind
from shared.model.errors import CarillonError, NotReady
from shared.model.settings import Settings
from shared.ports.event_log import DISPATCHED, EventLog
from shared.ports.read_models import ReadModels, Stage
from shared.wiring import open_backends
from shared.wiring.journeys_only import open_journeys
from shared.wiring.log_only import open_log, open_read_models

# A service asks its own backends before it answers.
READY_WITHIN_S = 15.0
COLLECTOR_WITHIN_S = 3.0

_PERSISTER = "is a persister running? its /readyz and its log say what it misses"
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def checks_of_movement(settings: Settings) -> list[Check]:
    """How far dispatch and projections are, and what waits in the broker."""
    async with open_log(settings) as event_log, open_read_models(settings) as models:
        found = [await _check_of_dispatch(event_log, settings.lag_max_s)]
        try:
            found += await _checks_of_projections(event_log, models, settings.lag_max_s)
        except CarillonError as failed:
            found.append(Check("projections", False, str(failed), "see that the log's storage answers"))
    return found if settings.backends == "embedded" else [*found, await _check_of_queues(settings)]


async def _check_of_dispatch(event_log: EventLog, limit_s: float) -> Check:
    async def look() -> str:
        late = await behind(event_log, await event_log.head(), await event_log.checkpoint(DISPATCHED))
        if late.seconds > limit_s:
            raise NotReady(_told(late))
        return _told(late)

    return await checked("dispatch", look, _PERSISTER)


async def _checks_of_projections(event_log: EventLog, models: ReadModels, limit_s: float) -> list[Check]:
    head = await event_log.head()
    found = []
    for each in await models.generations():
        if each.stage is not Stage.CURRENT:
            continue
        late, name = await behind(event_log, head, each.position), f"model {each.model.name}"
        if each.failure is not None:
            told = f"stopped at position {each.failure.position} ({each.failure.event}): {each.failure.problem}"
            found.append(Check(name, False, told, "look at that event, and rebuild the model"))
        else:
            found.append(
                Check(name, late.seconds <= limit_s, _told(late), "" if late.seconds <= limit_s else _PERSISTER)
            )
    return found


async def _check_of_queues(settings: Settings) -> Check:
    """What waits is no failure by itself: under load there is always something."""

    async def look() -> str:
        async with open_backends(settings) as backends:
            waiting = await backends.broker.waiting()
        return f"{waiting.intake:,} published events and {waiting.dead:,} dead letters wait"

    return await checked("queues", look, "see that RabbitMQ runs, and CARILLON_AMQP_URL")


def _told(late: Behind) -> str:
    if not late.events:
        return "with the log"
    return f"{late.events:,} events and {late.seconds:.0f} s behind the log"


async def checks_of_tracing(settings: Settings) -> list[Check]:
    """The store of journeys, and the collector where there is one."""

    async def look() -> str:
        async with open_journeys(settings) as journeys:
            await journeys.of_trace("0" * 32, limit=1)
        return f"{settings.trace_ratio:.0%} of all traces, kept for {settings.journeys_kept_s / 3600:g} h"

    found = []
    if settings.trace_ratio > 0 and settings.journeys_kept_s > 0:
        found.append(await checked("journeys", look, "events go on without them; see that the storage answers"))
    if settings.otlp_endpoint is not None:
        found.append(await _check_of_collector(settings.otlp_endpoint))
    return found


async def _check_of_collector(endpoint: str) -> Check:
    address = urlsplit(endpoint)
    port = address.port or _DEFAULT_PORTS[address.scheme]
    try:
        async with asyncio.timeout(COLLECTOR_WITHIN_S):
            _, writer = await asyncio.open_connection(address.hostname, port)
        writer.close()
    except (OSError, TimeoutError) as failed:
        fix = "events go on without it, and their spans are dropped; see CARILLON_OTLP_ENDPOINT"
        # asyncio puts words of its own in place of the system's.
        why = os.strerror(failed.errno) if failed.errno else "no answer in time"
        return Check("otlp", False, f"{address.hostname}:{port}: {why}", fix)
    return Check("otlp", True, f"{address.hostname}:{port} listens")


async def checks_of_services(urls: Sequence[str]) -> list[Check]:
    """What running services say of themselves, a check for each thing that they ask."""
    async with httpx.AsyncClient(timeout=READY_WITHIN_S) as client:
        return [check for url in urls for check in await _checks_of_service(client, url.rstrip("/"))]


async def _checks_of_service(client: httpx.AsyncClient, url: str) -> list[Check]:
    try:
        document = (await client.get(f"{url}/readyz")).json()
        checks = {str(name): str(told) for name, told in document["checks"].items()}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as failed:
        told = f"no service of Carillon answers ({failed or type(failed).__name__})"
        return [Check(url, False, told, "is it running, and is the address right?")]
    # What is degraded works all the same: it is said, and fails nothing.
    return [Check(f"{url} {name}", told == "ok" or told.startswith("degraded"), told) for name, told in checks.items()]
