"""The pages of dead letters: why they are there, and requeue, edit and drop; of many only after a look at all."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from quart import Blueprint, Response, render_template, request

from services.console import letters
from services.console.gate import HOME, acting_form, operator, to
from services.console.letters import Choice
from shared.model.errors import InvalidEvent, InvalidInput
from shared.web.problem import Refusal

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

    from services.console.routes import Console
    from shared.ports.broker import DeadLetter

PAGE = f"{HOME}/dead"
SHOWN = 100
ACTS = {"requeue": letters.requeue, "drop": letters.drop}


def add_to(routes: Blueprint, console: Console) -> None:
    """The list, one letter, and the acts."""
    broker = console.backends.broker

    @routes.get("/dead")
    async def dead() -> str:
        choice = Choice.of(request.args)
        found = await letters.listed(broker, choice)
        return await render_template(
            "dead.html", choice=choice, found=found, shown=found.letters[:SHOWN], glimpse=letters.glimpse
        )

    @routes.post("/dead/plan")
    async def plan() -> str:
        """The dry run: what would become of which letters."""
        fields = await acting_form()
        act = _act(fields)
        chosen = await _chosen(console, fields)
        if not chosen:
            raise InvalidInput("id", "no letter was chosen, or they are gone", f"choose some at {PAGE}")
        return await render_template(
            "dead_plan.html", act=act, chosen=chosen, reasons=Counter(letter.reason for letter in chosen).most_common(),
            shown=chosen[:SHOWN], glimpse=letters.glimpse,
        )  # fmt: skip

    @routes.post("/dead/act")
    async def act() -> Response:
        """What was planned, of the letters that the plan showed and of no others."""
        fields = await acting_form()
        name, ids = _act(fields), frozenset(fields.get("ids", "").split())
        done = await ACTS[name](broker, operator().actor, ids)
        return to(f"{PAGE}?{urlencode({'did': name, 'done': len(done), 'gone': len(ids) - len(done)})}")

    @routes.get("/dead/<id_>")
    async def letter(id_: str) -> str:
        return await _letter_page(await _found(console, id_))

    @routes.get("/dead/<id_>/body")
    async def body(id_: str) -> Response:
        found = await _found(console, id_)
        named = f'attachment; filename="dead-letter-{quote(found.id, safe="")}"'
        return Response(found.body, mimetype="application/octet-stream", headers={"Content-Disposition": named})

    @routes.post("/dead/<id_>/edit")
    async def edit(id_: str) -> Response | tuple[str, int]:
        fields = await acting_form()
        found, text = await _found(console, id_), fields.get("body", "")
        try:
            changed = letters.edited(text, console.max_event_bytes)
        except InvalidEvent as refused:
            return await _letter_page(found, text, str(refused)), HTTPStatus.BAD_REQUEST
        done = await letters.requeue(broker, operator().actor, [found.id], {found.id: changed})
        return to(f"{PAGE}?{urlencode({'did': 'requeue', 'done': len(done), 'gone': 1 - len(done)})}")


async def _letter_page(letter: DeadLetter, edited: str | None = None, problem: str | None = None) -> str:
    text = letters.text_of(letter.body)
    return await render_template(
        "letter.html",
        letter=letter,
        text=text,
        edited=letters.laid_out(text or "") if edited is None else edited,
        problem=problem,
        dump=letters.dump(letter.body) if text is None else None,
        glimpse=letters.glimpse(letter.body),
    )


async def _found(console: Console, id_: str) -> DeadLetter:
    found = await letters.one(console.backends.broker, id_)
    if found is None:
        fix = f"somebody settled it, or it is not among the oldest {letters.LOOKED_AT}; see {PAGE}"
        raise Refusal(HTTPStatus.NOT_FOUND, f"there is no dead letter {id_[:40]!r}", fix=fix)
    return found


def _act(fields: MultiDict[str, str]) -> str:
    name = fields.get("act", "")
    if name not in ACTS:
        raise InvalidInput("act", f"{name[:20]!r} is nothing that can be done", f"use one of {', '.join(ACTS)}")
    return name


async def _chosen(console: Console, fields: MultiDict[str, str]) -> list[DeadLetter]:
    """Those whose boxes were ticked, or all that fit."""
    if fields.get("all"):
        return list((await letters.listed(console.backends.broker, Choice.of(fields))).letters)
    ids = frozenset(fields.getlist("id"))
    everything = (await letters.listed(console.backends.broker, Choice())).letters
    return [letter for letter in everything if letter.id in ids]
