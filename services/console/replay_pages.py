"""The pages of replays: choose, see how many and who, run, and watch."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template, request

from services.console.gate import HOME, acting_form, operator, to
from services.console.replay import Plan, parsed_tags
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
        wanted = Wanted.of(request.args)
        known = list(replays.known.values())[::-1]
        return await render_template("replay.html", wanted=wanted, to=request.args.get("to", "")[:2000], replays=known)

    @routes.post("/replay/plan")
    async def replay_plan() -> Response:
        fields = await acting_form()
        plan = Plan(Wanted.of(fields), parsed_tags(fields.get("to", "")))
        return to(f"{PAGE}/{replays.plan(plan, operator().actor).plan.run}")

    @routes.get("/replay/<run>")
    async def replay_run(run: str) -> str:
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


def _found(console: Console, run: str) -> Replay:
    found = console.replays.known.get(run)
    if found is None:
        fix = f"it was made in another console, or that was long ago; begin at {PAGE}"
        raise Refusal(HTTPStatus.NOT_FOUND, f"there is no replay {run[:20]!r} here", fix=fix)
    return found
