"""The web side of a login with OpenID Connect: the browser's round trip to the issuer, with its cookies."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from quart import Response, request
from werkzeug.datastructures import MultiDict

from shared.identity.login import Answer, Login
from shared.identity.transactions import LoginRefused
from shared.model.errors import CarillonError
from shared.web.problem import status_of

Arrived = Callable[[dict[str, Any], str], Awaitable[Response]]
"""(what the issuer says of who has logged in, the path that they wanted) -> the answer. Raises `CarillonError`."""
Failed = Callable[[CarillonError, str | None], Awaitable[Response]]
"""(why there is no login, the path that was wanted, where that is known) -> the answer."""

_log = logging.getLogger(__name__)


class RoundTrip:
    """What the two routes of a login answer."""

    def __init__(self, login: Login) -> None:
        self._login, self._open = login, login.transactions
        # Lax, for the issuer's answer is a navigation that another site began.
        self._attributes: dict[str, Any] = {
            "path": self._open.path,
            "secure": self._open.secure,
            "httponly": True,
            "samesite": "Lax",
        }

    async def begin(self, return_to: str, *, as_another: bool = False) -> Response:
        """Sends the browser to the issuer. Raises `LoginRefused` and `IssuerUnavailable`."""
        own_origin = f"{request.scheme}://{request.host}"
        transaction, url = await self._login.begin(return_to, own_origin, as_another=as_another)
        response = redirect(url)
        for name in self._open.surplus(request.cookies):
            self._forget(response, name)
        name, value = self._open.cookie(transaction)
        response.set_cookie(name, value, max_age=transaction.expires_at - int(time.time()), **self._attributes)
        return response

    async def finish(self, arrived: Arrived, failed: Failed) -> Response:
        """Takes the issuer's answer. Raises `LoginRefused` for one that this browser did not ask for."""
        answer = _answer(request.args)
        transaction = self._open.find(answer.state, request.cookies)
        try:
            response = await arrived(await self._login.finish(transaction, answer), transaction.return_to)
        except CarillonError as problem:
            response = await failed(problem, transaction.return_to)
        # Whatever came of it, it is over: the same answer is not taken again from this browser.
        self._forget(response, self._open.cookie(transaction)[0])
        return response

    def _forget(self, response: Response, name: str) -> None:
        response.delete_cookie(name, **self._attributes)


def redirect(location: str) -> Response:
    """On from an address that nobody is to learn of."""
    return private(Response(status=HTTPStatus.SEE_OTHER, headers={"Location": location}))


def private(response: Response) -> Response:
    """The same response, kept by nobody and named to nobody: the address holds the code and the state."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def tell_failure(failed: CarillonError) -> None:
    """Logs it. What strangers send is no news; what the issuer does wrong is."""
    level = logging.WARNING if status_of(failed) >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
    # Quoted: it may hold line breaks of theirs.
    _log.log(level, "a login failed: %r", str(failed))


def _answer(parameters: MultiDict[str, str]) -> Answer:
    """Unknown parameters are ignored, repeated ones refused (RFC 6749, 3.1)."""
    names = ("state", "code", "error", "iss")
    for name in names:
        if len(parameters.getlist(name)) > 1:
            raise LoginRefused(name, "it is there twice", "begin the login again")
    return Answer(*map(parameters.get, names))
