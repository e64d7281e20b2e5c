"""`/healthz`: whether the process lives. `/readyz`: whether it can do its job, and if not, why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from quart import Blueprint, Response, jsonify

from shared.model.errors import Degraded, NotReady, Unavailable

Probe = Callable[[], Awaitable[object]]
"""Returns where all is well; raises `Unavailable` or `NotReady` where the job cannot be done, `Degraded` where
some of it cannot."""


def blueprint(timeout_s: float, probes: Mapping[str, Probe]) -> Blueprint:
    """Both addresses.

    Args:
        timeout_s: what each probe is given.
        probes: what `/readyz` asks, by the name that it is reported under.
    """
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    async def alive() -> Response:
        return jsonify(status="ok")

    @health.get("/readyz")
    async def ready() -> tuple[Response, int]:
        found = await asyncio.gather(*(finding(probe, timeout_s) for probe in probes.values()))
        checks = {name: text for name, (_, text) in zip(probes, found, strict=True)}
        statuses = {status for status, _ in found}
        if "unavailable" in statuses:
            return jsonify(status="unavailable", checks=checks), HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(status="degraded" if "degraded" in statuses else "ok", checks=checks), HTTPStatus.OK

    return health


async def finding(probe: Probe, timeout_s: float) -> tuple[str, str]:
    """(the status that follows from it: `ok`, `degraded` or `unavailable`; what to report: `ok` or why not)."""
    try:
        async with asyncio.timeout(timeout_s):
            await probe()
    except TimeoutError:
        return "unavailable", f"no answer within {timeout_s:g} s"
    except (Unavailable, NotReady) as failed:
        return "unavailable", str(failed)
    except Degraded as lessened:
        return "degraded", f"degraded: {lessened}"
    return "ok", "ok"
