"""Login at the console with OpenID Connect: whoever has a role at the issuer is let in, as a key would let them in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from quart import Blueprint, Response, render_template, request

from services.console.gate import HOME, LOGIN, inside
from services.console.operators import Person
from services.console.roles import SHOWN_ROLES, NoRole, Roles
from shared.identity.login import Login
from shared.identity.transactions import LoginRefused, checked_return_to
from shared.model.errors import CarillonError
from shared.web.login import RoundTrip, private, tell_failure
from shared.web.problem import status_of, title_of, told_of

BEGIN = f"{LOGIN}/oidc"

LetIn = Callable[[Person, str], Response]
"""(who it is, the page that they wanted) -> the answer, with their cookie."""

_log = logging.getLogger(__name__)


class OperatorLogin:
    """The two routes, and the pages of what does not work out."""

    def __init__(self, login: Login, roles: Roles, let_in: LetIn) -> None:
        self._trip, self._roles, self._let_in = RoundTrip(login), roles, let_in

    def add_to(self, routes: Blueprint) -> None:
        """Both are open to whoever is not signed in: see `Gate`."""
        routes.get("/login/oidc")(self.begin_login)
        routes.get("/login/callback")(self.finish_login)

    async def begin_login(self) -> Response:
        """Sends the browser to the issuer; with `?another` the issuer asks who it is, even of whom it knows."""
        wanted = _wanted(request.args.get("next", HOME))
        try:
            return await self._trip.begin(wanted, as_another="another" in request.args)
        except CarillonError as failed:
            return await self._failed(failed, wanted)

    async def finish_login(self) -> Response:
        """Takes the issuer's answer."""
        try:
            return await self._trip.finish(self._arrived, self._failed)
        except CarillonError as failed:
            return await self._failed(failed, None)

    async def _arrived(self, claims: dict[str, Any], wanted: str) -> Response:
        person = self._roles.person(claims)
        # Quoted, as all that others write: names may hold what looks like another line.
        _log.info("%r (%r) signed in, to %s", person.actor.name, person.actor.sub, "act" if person.may_act else "look")
        return private(self._let_in(person, wanted))

    async def _failed(self, failed: CarillonError, wanted: str | None) -> Response:
        if isinstance(failed, NoRole):
            told = (failed.actor.name, failed.actor.sub, failed.field)
            _log.warning("%r (%r) wanted into the console, and has no role of the claim %r", *told)
            page = await render_template(
                "no_role.html", refused=failed, issuer=self._roles.issuer, shown=failed.held[:SHOWN_ROLES],
                wanted=wanted or HOME,
            )  # fmt: skip
        else:
            tell_failure(failed)
            title = title_of(status_of(failed))
            page = await render_template("login_failed.html", told=told_of(failed), title=title, wanted=wanted or HOME)
        return private(Response(page, status_of(failed), dict(told_of(failed).headers or {})))


def _wanted(address: str) -> str:
    """A page of the console that a login can come back to."""
    try:
        return checked_return_to(inside(address))
    except LoginRefused:
        return HOME
