"""What `carillon certify` does: every promise of the ports, held against the configured servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from shared.conformance.broker import BROKER_CHECKS
from shared.conformance.event_log import EVENT_LOG_CHECKS
from shared.conformance.folding import FOLDING_CHECKS
from shared.conformance.journeys import JOURNEY_STORE_CHECKS
from shared.conformance.log_upkeep import LOG_UPKEEP_CHECKS
from shared.conformance.producers import PRODUCER_STORE_CHECKS
from shared.conformance.read_models import READ_MODELS_CHECKS
from shared.conformance.rpc import RPC_CHECKS
from shared.conformance.sessions import SESSION_STORE_CHECKS
from shared.model.errors import CarillonError
from shared.model.settings import Settings
from shared.wiring.throwaway import (
    throwaway_broker,
    throwaway_journeys,
    throwaway_log,
    throwaway_producers,
    throwaway_read_models,
    throwaway_sessions,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, kept or not."""

    promise: str
    kept: bool
    problem: str = ""


def promises(settings: Settings) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """Each check by name, bound to fresh backends under throwaway names."""
    log, broker, sessions = throwaway_log(settings), throwaway_broker(settings), throwaway_sessions(settings)
    models = throwaway_read_models(settings)
    of_log = {f"log: {check.__name__}": partial(check, log) for check in EVENT_LOG_CHECKS}
    of_upkeep = {f"upkeep: {check.__name__}": partial(check, log) for check in LOG_UPKEEP_CHECKS}
    of_broker = {f"broker: {check.__name__}": partial(check, broker) for check in (*BROKER_CHECKS, *RPC_CHECKS)}
    of_sessions = {f"sessions: {check.__name__}": partial(check, sessions) for check in SESSION_STORE_CHECKS}
    of_models = {
        f"read models: {check.__name__}": partial(check, models) for check in (*READ_MODELS_CHECKS, *FOLDING_CHECKS)
    }
    journeys = throwaway_journeys(settings)
    of_journeys = {f"journeys: {check.__name__}": partial(check, journeys) for check in JOURNEY_STORE_CHECKS}
    producers = throwaway_producers(settings)
    of_producers = {f"producers: {check.__name__}": partial(check, producers) for check in PRODUCER_STORE_CHECKS}
    return {**of_log, **of_upkeep, **of_broker, **of_sessions, **of_models, **of_journeys, **of_producers}


async def certify(settings: Settings) -> AsyncIterator[Finding]:
    """Runs every check, one after the other. Raises `Unavailable` where there is nothing to certify."""
    async with throwaway_log(settings)() as logs, logs.client() as event_log:
        await event_log.head()
    async with throwaway_broker(settings)() as brokers, brokers.client() as broker:
        await broker.ping()
    for name, check in promises(settings).items():
        try:
            await check()
        except (AssertionError, CarillonError, TimeoutError) as broken:
            yield Finding(name, False, str(broken) or type(broken).__name__)
        else:
            yield Finding(name, True)
