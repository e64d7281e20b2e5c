"""The page of connections: who is there, since when, on which edge; and ending them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response, render_template, request

from services.console.acts import tell_act
from services.console.gate import HOME, acting_form, operator, to
from shared.model.control import control_tag, disconnected
from shared.model.errors import InvalidInput

if TYPE_CHECKING:
    from services.console.routes import Console

PAGE = f"{HOME}/connections"
LISTED = 100
LOOKED_EVERY_S = 2.0
MAX_USER_CHARS = 200


def add_to(routes: Blueprint, console: Console) -> None:
    """The list, its live part, and disconnecting."""
    store, broker, log = console.backends.sessions, console.backends.broker, console.backends.event_log

    async def seen(user: str, after: str) -> dict[str, object]:
        found = await store.connections(sub=user or None, after=after, limit=LISTED)
        return {
            "connections": found,
            "counts": await store.counts(),
            "last": (await log.head()).last,
            "next": urlencode({"user": user, "after": found[-1].id}) if len(found) == LISTED else None,
        }

    @routes.get("/connections")
    async def connections() -> str:
        user, after = _asked()
        here = urlencode({"user": user, "after": after})
        return await render_template("connections.html", user=user, here=here, **await seen(user, after))

    @routes.get("/live/connections")
    async def connections_live() -> Response:
        # A stream outlives the request, and what is known of it.
        (user, after), who = _asked(), operator()

        async def draw() -> str:
            return await render_template("connections_live.html", operator=who, **await seen(user, after))

        return console.islands.island(draw, LOOKED_EVERY_S)

    @routes.post("/connections/disconnect")
    async def disconnect() -> Response:
        fields = await acting_form()
        user, session = fields.get("user", ""), fields.get("session") or None
        try:
            control_tag(user)
        except InvalidInput:
            raise InvalidInput("user", f"{user[:40]!r} is no user", "choose one of the list") from None
        await tell_act(broker, operator().actor, "disconnect", {"user": user, "session": session})
        await broker.publish(disconnected(user, session, operator().name))
        return to(f"{PAGE}?{urlencode({'user': fields.get('shown', ''), 'told': user})}")


def _asked() -> tuple[str, str]:
    """(the user asked for, the connection to list on from)."""
    user, after = request.args.get("user", "").strip(), request.args.get("after", "")
    for name, value in (("user", user), ("after", after)):
        if len(value) > MAX_USER_CHARS or not (value.isprintable() or not value):
            raise InvalidInput(name, "it is too long, or holds control characters", "give a name as in tokens")
    return user, after
