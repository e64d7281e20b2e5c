"""Login with OpenID Connect: off to the issuer, back with a code, and a session is open.

Sources: RFC 6749 (4.1, 10.12), RFC 9207 (the answer's issuer), and
https://openid.net/specs/openid-connect-core-1_0.html, section 3.1
"""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from services.edge.claims import checked_grants, checked_sub
from services.edge.code_flow import CodeFlow, refused_by_issuer
from services.edge.id_tokens import IdTokenVerifier
from services.edge.sessions import Session
from services.edge.transactions import COOKIE_PATH, LoginRefused, Transaction, Transactions
from shared.identity.issuers import Issuer
from shared.identity.jwts import InvalidToken
from shared.identity.keysets import checked_address, is_loopback
from shared.model.errors import CarillonError, InvalidInput, Unavailable
from shared.model.settings import Settings
from shared.web.problem import CONTENT_TYPE, problem, problem_of

LOGIN_PATH = COOKIE_PATH
CALLBACK_PATH = f"{COOKIE_PATH}/callback"
MAX_CODE_CHARS = 2048

OpenSession = Callable[[str, tuple[str, ...], float], Session]
"""(user, granted tags, seconds since the epoch that no renewal goes beyond) -> the session."""
LetIn = Callable[[Session, Response], Awaitable[object]]
"""Puts the session's cookie on the response, in place of another. Raises `Unavailable`."""
Value = TypeVar("Value")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer sent the browser back with (RFC 6749, 4.1.2)."""

    state: str | None
    code: str | None
    error: str | None
    iss: str | None


class Login:
    """The flow, without its web side.

    Args:
        issuer: whom users log in at; the same may serve `TokenVerifier`.

    Raises `InvalidInput`, naming the setting, where one is missing or wrong.
    """

    def __init__(self, settings: Settings, issuer: Issuer, open_session: OpenSession, let_in: LetIn) -> None:
        client_id = _required("CARILLON_OIDC_CLIENT_ID", settings.oidc_client_id)
        secret = settings.oidc_client_secret
        if "openid" not in settings.oidc_scopes.split():
            raise InvalidInput("CARILLON_OIDC_SCOPES", "it lacks openid", "add it: without it there is no ID token")
        self._flow = CodeFlow(
            issuer, client_id, None if secret is None else secret.get_secret_value(), settings.oidc_scopes
        )
        self._issuer, self._id_tokens = issuer, IdTokenVerifier(issuer, client_id)
        self._public_url = None if settings.public_url is None else _checked_origin(settings.public_url)
        self._tags_claim, self._session_max_s = settings.oidc_tags_claim, settings.session_max_s
        self._open_session, self.let_in = open_session, let_in
        self.transactions = Transactions(_session_secrets(settings), secure=settings.cookie_secure)

    async def begin(self, return_to: str, own_origin: str) -> tuple[Transaction, str]:
        """(the new login, the issuer's address to send the browser to).

        Args:
            own_origin: how the browser reached this server, such as `http://127.0.0.1:8082`.

        Raises `LoginRefused` and `IssuerUnavailable`.
        """
        transaction = self.transactions.begin(return_to, self._redirect_uri(own_origin))
        return transaction, await self._flow.address(transaction)

    async def finish(self, transaction: Transaction, answer: Answer) -> Session:
        """The session of who has logged in. Raises `LoginRefused` and `IssuerUnavailable`."""
        await self._check_sender(answer)
        id_token = await self._flow.id_token(transaction, _checked_code(answer))
        try:
            claims = await self._id_tokens.verify(id_token, transaction.nonce)
        except InvalidToken as refused:
            problem = f"the issuer's ID token is not good: {refused.field}: {refused.problem}"
            raise LoginRefused("id_token", problem, refused.fix, status=502) from None
        return self._opened(claims)

    def _opened(self, claims: dict[str, Any]) -> Session:
        try:
            sub = checked_sub(claims.get("sub"))
            grants = checked_grants(self._tags_claim, _listed(claims.get(self._tags_claim, [])))
        except InvalidToken as refused:
            fix = f"have the issuer's administrator mend it: {refused.fix}"
            raise LoginRefused(refused.field, refused.problem, fix, status=403) from None
        # The ID token's own end says until when it may be used to log in, not how long that holds.
        return self._open_session(sub, grants, time.time() + self._session_max_s)

    async def _check_sender(self, answer: Answer) -> None:
        """Another issuer's answer must not be taken to this one (RFC 9207, 2.4)."""
        metadata = await self._issuer.metadata()
        if answer.iss != metadata.issuer and (answer.iss is not None or metadata.names_itself):
            raise LoginRefused("iss", "the answer is another issuer's", "begin the login again")

    def _redirect_uri(self, own_origin: str) -> str:
        # Elsewhere the Host header is whatever a stranger wrote.
        if self._public_url is None and not is_loopback(urlsplit(own_origin).hostname or ""):
            raise LoginRefused("Host", "logins are not set up for this address", "have CARILLON_PUBLIC_URL set to it")
        return (self._public_url or own_origin) + CALLBACK_PATH


def blueprint(login: Login) -> Blueprint:
    """`/v1/login` and its callback; every refusal is a problem document, or for browsers a small page."""
    routes = Blueprint("login", __name__)

    @routes.get(LOGIN_PATH)
    async def begin() -> Response:
        transaction, url = await login.begin(_requested_return_to(), f"{request.scheme}://{request.host}")
        response = _redirect(url)
        for name in login.transactions.surplus(request.cookies):
            forget(response, name)
        name, value = login.transactions.cookie(transaction)
        response.set_cookie(name, value, max_age=transaction.expires_at - int(time.time()), **attributes)
        return response

    @routes.get(CALLBACK_PATH)
    async def finish() -> Response:
        answer = _answer(request.args)
        transaction = login.transactions.find(answer.state, request.cookies)
        try:
            session = await login.finish(transaction, answer)
            response = _redirect(transaction.return_to)
            await login.let_in(session, response)
        except CarillonError as failed:
            response = _failure(failed, transaction.return_to)
        # Whatever came of it, it is over: the same answer is not taken again from this browser.
        forget(response, login.transactions.cookie(transaction)[0])
        return response

    @routes.errorhandler(CarillonError)
    async def fail(failed: CarillonError) -> Response:
        return _failure(failed, None)

    # Lax, for the issuer's answer is a navigation that another site began.
    attributes: dict[str, Any] = {
        "path": COOKIE_PATH,
        "secure": login.transactions.secure,
        "httponly": True,
        "samesite": "Lax",
    }

    def forget(response: Response, name: str) -> None:
        response.delete_cookie(name, **attributes)

    return routes


def _requested_return_to() -> str:
    for name in request.args:
        if name != "return_to":
            raise LoginRefused(name[:60], "there is no such parameter", "use return_to")
    return request.args.get("return_to", "/")


def _answer(parameters: MultiDict[str, str]) -> Answer:
    """Unknown parameters are ignored, repeated ones refused (RFC 6749, 3.1)."""
    names = ("state", "code", "error", "iss")
    for name in names:
        if len(parameters.getlist(name)) > 1:
            raise LoginRefused(name, "it is there twice", "begin the login again")
    return Answer(*map(parameters.get, names))


def _checked_code(answer: Answer) -> str:
    if answer.error is not None:
        raise refused_by_issuer(answer.error)
    code = answer.code or ""
    if not code or len(code) > MAX_CODE_CHARS or not code.isascii() or not code.isprintable():
        raise LoginRefused("code", "it is missing, or not a code", "begin the login again")
    return code


def _listed(tags: object) -> object:
    """A claim of several words is a list, or as `scope` is, text with spaces between them."""
    return tags.split() if isinstance(tags, str) else tags


def _failure(failed: CarillonError, return_to: str | None) -> Response:
    document = _document(failed)
    # What strangers send is no news; what the issuer does wrong is. Quoted: it may hold line breaks of theirs.
    level = logging.WARNING if document.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
    _log.log(level, "a login failed: %r", str(failed))
    if request.accept_mimetypes.best_match([CONTENT_TYPE, "text/html"]) == "text/html":
        document = _page(document.status_code, failed, return_to)
    document.headers["Vary"] = "Accept"
    return _private(document)


def _document(failed: CarillonError) -> Response:
    if isinstance(failed, LoginRefused):
        return problem(failed.status, "Login refused", failed.problem, field=failed.field, fix=failed.fix)
    return problem_of(failed)


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


def _redirect(location: str) -> Response:
    return _private(Response(status=303, headers={"Location": location}))


def _private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    # The address holds the code and the state.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _checked_origin(url: str) -> str:
    origin = checked_address("CARILLON_PUBLIC_URL", url).removesuffix("/")
    if urlsplit(origin).path or urlsplit(origin).query:
        raise InvalidInput("CARILLON_PUBLIC_URL", "it has a path", "give scheme, host and port only")
    return origin


def _session_secrets(settings: Settings) -> list[str]:
    current = _required("CARILLON_SESSION_SECRET", settings.session_secret)
    secrets = [current, settings.session_secret_previous]
    return [secret.get_secret_value() for secret in secrets if secret is not None]


def _required(setting: str, value: Value | None) -> Value:
    if value is None:
        raise InvalidInput(setting, "it is not set, and logins need it", "set it, or leave CARILLON_OIDC_ISSUER out")
    return value
