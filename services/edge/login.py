"""Login with OpenID Connect at the edge: whoever has logged in at the issuer has a session, and its cookie."""

from __future__ import annotations

import html
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from quart import Blueprint, Response, request

from services.edge.claims import checked_grants, checked_sub
from services.edge.sessions import Session
from shared.identity.jwts import InvalidToken
from shared.identity.login import Login
from shared.identity.transactions import LoginRefused
from shared.model.errors import CarillonError, InvalidInput, Unavailable
from shared.web.login import RoundTrip, private, redirect, tell_failure
from shared.web.problem import CONTENT_TYPE, problem_of

LOGIN_PATH = "/v1/login"

OpenSession = Callable[[str, tuple[str, ...], float], Session]
"""(user, granted tags, seconds since the epoch that no renewal goes beyond) -> the session."""
LetIn = Callable[[Session, Response], Awaitable[object]]
"""Puts the session's cookie on the response, in place of another. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """How who has logged in gets a session."""

    open_session: OpenSession
    let_in: LetIn
    tags_claim: str
    session_max_s: float

    async def arrive(self, claims: dict[str, Any], return_to: str) -> Response:
        """Back to what they wanted, with a session. Raises `LoginRefused` for who cannot be a user here."""
        response = redirect(return_to)
        await self.let_in(self._opened(claims), response)
        return response

    def _opened(self, claims: dict[str, Any]) -> Session:
        try:
            sub = checked_sub(claims.get("sub"))
            grants = checked_grants(self.tags_claim, _listed(claims.get(self.tags_claim, [])))
        except InvalidToken as refused:
            fix = f"have the issuer's administrator mend it: {refused.fix}"
            raise LoginRefused(refused.field, refused.problem, fix, status=403) from None
        # The ID token's own end says until when it may be used to log in, not how long that holds.
        return self.open_session(sub, grants, time.time() + self.session_max_s)


def blueprint(login: Login, entrance: Entrance) -> Blueprint:
    """`/v1/login` and its callback; every refusal is a problem document, or for browsers a small page."""
    routes, trip = Blueprint("login", __name__), RoundTrip(login)

    @routes.get(LOGIN_PATH)
    async def begin() -> Response:
        return await trip.begin(_requested_return_to())

    @routes.get(login.callback_path)
    async def finish() -> Response:
        return await trip.finish(entrance.arrive, _failure)

    @routes.errorhandler(CarillonError)
    async def fail(failed: CarillonError) -> Response:
        return await _failure(failed, None)

    return routes


def _requested_return_to() -> str:
    for name in request.args:
        if name != "return_to":
            raise LoginRefused(name[:60], "there is no such parameter", "use return_to")
    return request.args.get("return_to", "/")


def _listed(tags: object) -> object:
    """A claim of several words is a list, or as `scope` is, text with spaces between them."""
    return tags.split() if isinstance(tags, str) else tags


async def _failure(failed: CarillonError, return_to: str | None) -> Response:
    tell_failure(failed)
    document = problem_of(failed)
    if request.accept_mimetypes.best_match([CONTENT_TYPE, "text/html"]) == "text/html":
        document = _page(document.status_code, failed, return_to)
    document.headers["Vary"] = "Accept"
    return private(document)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Not logged in</title>
<h1>You are not logged in</h1>
<p>{said}.</p>
<p><a href="{again}">Try again</a></p>
</html>
"""


def _page(status: int, failed: CarillonError, return_to: str | None) -> Response:
    said = f"{failed.field}: {failed.problem}; {failed.fix}" if isinstance(failed, InvalidInput) else _AWAY
    again = LOGIN_PATH if return_to is None else f"{LOGIN_PATH}?return_to={quote(return_to, safe='')}"
    page = _PAGE.format(said=html.escape(said), again=html.escape(again))
    headers = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    if isinstance(failed, Unavailable):
        headers["Retry-After"] = problem_of(failed).headers["Retry-After"]
    return Response(page, status, headers, content_type="text/html; charset=utf-8")


_AWAY = "Logins do not work at the moment, for who checks them does not answer; try again a little later"
