"""The pages of replays: choose, see how many and who, run, and watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response, render_template, request

from services.console.gate import HOME, acting_form, operator, to
from services.console.replay import Plan, parsed_tags
from services.console.replay_log import ToldReplay, told_replays
from services.console.search import Wanted
from shared.web.problem import Refusal

if TYPE_CHECKING:
    from services.console.replays import Replay
    from services.console.routes import Console

PAGE = f"{HOME}/replay"
LOOKED_EVERY_S = 0.5
SHOWN_TAGS = 20


def add_to(routes: Blueprint, console: Console) -> None:
    """The form, one replay, and what may be done with it."""
    replays = console.replays

    @routes.get("/replay")
    async def replay() -> str:
        wanted, to = Wanted.of(request.args), request.args.get("to", "")[:2000]
        listed = rows(replays.known, await told_replays(console.backends.event_log))
        return await render_template("replay.html", wanted=wanted, to=to, replays=listed)

    @routes.post("/replay/plan")
    async def replay_plan() -> Response:
        fields = await acting_form()
        plan = Plan(Wanted.of(fields), parsed_tags(fields.get("to", "")))
        return to(f"{PAGE}/{replays.plan(plan, operator().actor).plan.run}")

    @routes.get("/replay/<run>")
    async def replay_run(run: str) -> str:
        if run not in replays.known and (told := (await told_replays(console.backends.event_log)).get(run)):
            again = urlencode({**told.wanted, "to": " ".join(told.to)})
            return await render_template("replay_told.html", replay=told, again=again)
        return await render_template("replay_run.html", replay=_found(console, run), shown_tags=SHOWN_TAGS)

    @routes.get("/live/replay/<run>")
    async def replay_live(run: str) -> Response:
        # A stream outlives the request, and what is known of it.
        chosen, who = _found(console, run), operator()

        async def draw() -> str:
            return await render_template("replay_live.html", replay=chosen, operator=who, shown_tags=SHOWN_TAGS)

        return console.islands.island(draw, LOOKED_EVERY_S)

    @routes.post("/replay/<run>/run")
    async def replay_begin(run: str) -> Response:
        await acting_form()
        await replays.run(_found(console, run), operator().actor)
        return to(f"{PAGE}/{run}")

    @routes.post("/replay/<run>/stop")
    async def replay_stop(run: str) -> Response:
        await acting_form()
        await replays.stop(_found(console, run), operator().actor)
        return to(f"{PAGE}/{run}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A replay as a row of the list."""

    run: str
    state: str
    published: int | None
    count: int
    wanted: Mapping[str, str]
    by: str
    at: datetime


def rows(known: Mapping[str, Replay], told: Mapping[str, ToldReplay]) -> list[Listed]:
    """Those of this process as they are, all others as the log tells them; the last first. Pure."""
    here = [
        Listed(run, each.stage.value, each.done, len(each.plan.positions), each.plan.wanted.told, each.by.name,
               each.made_at)
        for run, each in known.items()
    ]  # fmt: skip
    elsewhere = [
        Listed(run, each.outcome, each.published, each.count, each.wanted, each.by, each.begun_at)
        for run, each in told.items() if run not in known
    ]  # fmt: skip
    return sorted([*here, *elsewhere], key=lambda each: each.at, reverse=True)


def _found(console: Console, run: str) -> Replay:
    found = console.replays.known.get(run)
    if found is None:
        fix = f"it was counted in another console and not begun, or that was long ago; begin at {PAGE}"
        raise Refusal(HTTPStatus.NOT_FOUND, f"there is no replay {run[:20]!r} here", fix=fix)
    return found
