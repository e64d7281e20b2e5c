"""The console's pages, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Blueprint, g, render_template, request

from services.console import connections, dead, events, overview, replay_pages, runs
from services.console.gate import HOME, Gate
from services.console.live import Islands
from services.console.login import OperatorLogin
from services.console.replays import Replays
from services.console.sampling import Sampler
from services.console.wording import FILTERS
from shared.model.errors import Busy, InvalidInput, Unavailable
from shared.web.problem import Refusal, reason_of, status_of, title_of, told_of

if TYPE_CHECKING:
    from shared.web.health import Probe
    from shared.wiring import Backends

PAGES = (
    ("Overview", HOME),
    ("Events", f"{HOME}/events"),
    ("Runs", f"{HOME}/runs"),
    ("Connections", f"{HOME}/connections"),
    ("Dead letters", f"{HOME}/dead"),
    ("Replay", f"{HOME}/replay"),
)


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages are made from."""

    backends: Backends
    sampler: Sampler
    islands: Islands
    probes: Mapping[str, Probe]
    timeout_s: float
    max_event_bytes: int
    replays: Replays


def blueprint(console: Console, gate: Gate, login: OperatorLogin | None) -> Blueprint:
    """`/console`, for an app of its own or for `carillon dev`."""
    routes = Blueprint(
        "console", __name__, url_prefix=HOME, template_folder="templates", static_folder="static",
        static_url_path="/static",
    )  # fmt: skip
    gate.add_to(routes)
    if login is not None:
        login.add_to(routes)
    for name, filter_ in FILTERS.items():
        routes.add_app_template_filter(filter_, name)
    routes.context_processor(_everywhere)
    for known in (Refusal, InvalidInput, Unavailable, Busy):
        routes.register_error_handler(known, _refused)
    overview.add_to(routes, console)
    events.add_to(routes, console)
    runs.add_to(routes, console)
    connections.add_to(routes, console)
    dead.add_to(routes, console)
    replay_pages.add_to(routes, console)
    return routes


async def _everywhere() -> dict[str, object]:
    """What every template knows."""
    return {"pages": PAGES, "operator": g.get("operator"), "path": request.path}


async def _refused(error: Exception) -> tuple[str, int, dict[str, str]]:
    """The page of what went wrong, with what to do."""
    g.refused_because = reason_of(error)
    told, status = told_of(error), status_of(error)
    page = await render_template("refused.html", told=told, title=title_of(status), status=status)
    return page, status, dict(told.headers or {})
