"""The pages of events: search, follow, look at one."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response, render_template, request

from services.console.search import MAX_STEPS, MAX_TERM_CHARS, Search, Wanted, position_of
from services.console.waterfall import bars, receipts, receivers
from shared.model.entry import Entry, is_hollow
from shared.telemetry.journey import journeys_of
from shared.web.problem import Refusal

if TYPE_CHECKING:
    from services.console.routes import Console

FOLLOWED_EVERY_S = 1.0
# A page that follows shows what fits a screen or two; at a thousand events a second nobody reads more.
FOLLOWED_AT_ONCE = 100


def add_to(routes: Blueprint, console: Console) -> None:
    """The list, its live rows, and one event."""
    search = Search(console.backends.event_log, console.backends.journeys)

    @routes.get("/events")
    async def events() -> str:
        wanted = Wanted.of(request.args)
        found = await search.page(wanted, position_of(request.args.get("before")))
        last = (await console.backends.event_log.head()).last
        return await render_template(
            "events.html", wanted=wanted, found=found, last=last, query=urlencode(wanted.told),
            is_first="before" not in request.args,
        )  # fmt: skip

    @routes.get("/live/events")
    async def events_live() -> Response:
        wanted = Wanted.of(request.args)
        seen = position_of(request.headers.get("Last-Event-ID") or request.args.get("after"))
        after = (await console.backends.event_log.head()).last if seen is None else seen

        async def draw() -> str:
            nonlocal after
            page = await console.backends.event_log.read(after, FOLLOWED_AT_ONCE * 5)
            after = page.through
            fitting = [entry for entry in reversed(page.entries) if wanted.fits(entry)][:FOLLOWED_AT_ONCE]
            return await render_template("event_rows.html", entries=fitting) if fitting else ""

        return console.islands.island(draw, FOLLOWED_EVERY_S, lambda: after)

    @routes.get("/events/<position>")
    async def event(position: str) -> str:
        entries = await console.backends.event_log.entries([position_of(position) or 0])
        if not entries:
            detail = f"the log holds no event at position {position[:30]!r}"
            raise Refusal(HTTPStatus.NOT_FOUND, detail, fix="it may be trimmed by retention; search at /console/events")
        return await _event_page(console, entries[0])

    @routes.get("/events/by-id/<path:id_>")
    async def event_by_id(id_: str) -> str:
        found = (await search.page(Wanted(find=id_[:MAX_TERM_CHARS]))).entries
        if not found:
            fix = "an event whose trace was not recorded is found further back at /console/events"
            raise Refusal(HTTPStatus.NOT_FOUND, f"no event {id_[:60]!r} was found", fix=fix)
        return await _event_page(console, found[0])


async def _event_page(console: Console, entry: Entry) -> str:
    steps = await console.backends.journeys.of_event(entry.id, entry.source, limit=MAX_STEPS + 1)
    journey = next(iter(journeys_of(steps[:MAX_STEPS])), None)
    attributes = json.loads(entry.event)
    return await render_template(
        "event.html",
        entry=entry,
        attributes={name: value for name, value in attributes.items() if name != "data"},
        data=json.dumps(attributes["data"], indent=2, ensure_ascii=False) if "data" in attributes else None,
        is_expired=is_hollow(attributes),
        trace=entry.traceparent.split("-")[1] if entry.traceparent else None,
        journey=journey,
        bars=bars(journey) if journey else [],
        receivers=receivers(journey) if journey else [],
        receipts=receipts(journey) if journey else frozenset(),
        is_cut=len(steps) > MAX_STEPS,
    )
