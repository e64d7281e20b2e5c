"""The pages of runs: streams by subject with a status, and one of them with the graph of its steps, live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from quart import Blueprint, Response, render_template, request

from services.console.drawing import drawn
from services.console.gate import HOME
from services.console.search import position_of
from services.console.steps import MAX_STEPS, links_of, spans_of, steps_of
from shared.folds import streams
from shared.folds.streams import ANYBODY, MODEL, STATUSES, Stream, checked_prefix
from shared.model.errors import InvalidInput
from shared.web.problem import Refusal

if TYPE_CHECKING:
    from services.console.routes import Console
    from shared.model.entry import Entry

LISTED = 50
DRAWN_EVERY_S = 1.0
# The last events of a run, on its page; all of them are under Events.
EVENTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs; what is empty does not matter."""

    prefix: str = ""
    status: str = ""
    before: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Self:
        """From the query of a URL. Raises `InvalidInput`."""
        prefix, status = arguments.get("prefix", "").strip(), arguments.get("status", "")
        if status and status not in STATUSES:
            raise InvalidInput("status", f"{status[:40]!r} is no status", f"use one of: {', '.join(STATUSES)}")
        return cls(checked_prefix(prefix), status, position_of(arguments.get("before")))

    def query(self, **changed: object) -> str:
        """For a URL, with some of it changed."""
        told = {"prefix": self.prefix, "status": self.status, "before": self.before} | changed
        return urlencode({name: value for name, value in told.items() if value})


def add_to(routes: Blueprint, console: Console) -> None:
    """The list, one run, and both live."""
    models, log = console.backends.read_models, console.backends.event_log

    async def listed(wanted: Wanted) -> dict[str, object]:
        statuses = [wanted.status] if wanted.status else STATUSES
        reading = streams.listing([ANYBODY], wanted.prefix, statuses, wanted.before, LISTED)
        found = (await models.read(MODEL.name, reading)).result
        more = found.streams[-1].began_at if len(found.streams) == LISTED else None
        return {"wanted": wanted, "runs": found.streams, "counts": found.counts, "more": more}

    @routes.get("/runs")
    async def runs() -> str:
        return await render_template("runs.html", **await listed(Wanted.of(request.args)), statuses=STATUSES)

    @routes.get("/live/runs")
    async def runs_live() -> Response:
        wanted = Wanted.of(request.args)

        async def draw() -> str:
            return await render_template("runs_live.html", **await listed(wanted), statuses=STATUSES)

        return console.islands.island(draw, DRAWN_EVERY_S)

    async def one(subject: str) -> dict[str, object] | None:
        stream = (await models.read(MODEL.name, streams.stream(subject))).result
        if not stream.version:
            return None
        page = await log.read_stream(subject, max(0, stream.version - EVENTS_SHOWN), EVENTS_SHOWN)
        return await asyncio.to_thread(_shown, stream, page.entries)

    @routes.get("/runs/<path:subject>")
    async def run(subject: str) -> str:
        shown = await one(subject)
        if shown is None:
            fix = f"look for it at {HOME}/runs; a stream that nobody may see has no state"
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is no run {subject[:60]!r}", fix=fix)
        return await render_template("run.html", **shown)

    @routes.get("/live/runs/<path:subject>")
    async def run_live(subject: str) -> Response:
        async def draw() -> str:
            shown = await one(subject)
            return await render_template("run_live.html", **shown) if shown is not None else ""

        return console.islands.island(draw, DRAWN_EVERY_S)


def _shown(stream: Stream, events: Sequence[Entry]) -> dict[str, object]:
    """What the page of a run shows; a thread's work, where it has hundreds of steps."""
    every = steps_of(stream.state)
    steps = every[:MAX_STEPS]
    links = links_of(steps)
    end = stream.ended or stream.updated
    now = datetime.now(UTC) if not stream.is_ended or end is None else datetime.fromisoformat(end)
    return {
        "run": stream,
        "summary": stream.summary(),
        "steps": steps,
        "links": links,
        "spans": spans_of(steps, now),
        "drawing": drawn(len(steps), tuple(links)),
        "left_out": len(every) - len(steps),
        "looks": {look: count for look in ("running", "failed", "pending", "done", "skipped")
                  if (count := sum(step.look == look for step in steps))},
        "events": list(reversed(events)),
    }  # fmt: skip
