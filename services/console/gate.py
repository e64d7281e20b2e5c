"""The console's door: signing in and out, who is there, and what every answer says to browsers."""

from __future__ import annotations

import asyncio
import hmac
from http import HTTPStatus
from urllib.parse import parse_qs, quote

from quart import Blueprint, Response, g, redirect, render_template, request
from werkzeug.datastructures import MultiDict

from services.console.operators import SESSION_TTL_S, Operator, OperatorCookie, Operators
from shared.web.app import limited_body
from shared.web.keys import is_loopback
from shared.web.problem import Refusal

HOME = "/console"
LOGIN = "/console/login"

# A dead letter that is edited is a form's largest field, and url-encoding triples what is not text.
MAX_FORM_BYTES = 1024 * 1024
# A box for each dead letter of a page, and some more.
MAX_FIELDS = 200
# Guessing a key costs the guesser as much.
WRONG_KEY_WAIT_S = 0.3

# Nothing that an event says may run here, be loaded from elsewhere, or frame the page.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_OPEN = frozenset({"console.login", "console.sign_in", "console.static"})


class Gate:
    """Lets operators in, and knows them again."""

    def __init__(self, operators: Operators, cookie: OperatorCookie, demo_key: str | None) -> None:
        self._operators, self._cookie, self._demo_key = operators, cookie, demo_key

    def add_to(self, routes: Blueprint) -> None:
        """Guards every route of the blueprint."""
        routes.before_request(self._check)
        routes.after_request(_with_headers)
        routes.get("/login")(self.login)
        routes.post("/login")(self.sign_in)
        routes.post("/logout")(self.sign_out)

    async def login(self) -> str:
        """The page to sign in on."""
        return await self._login_page(request.args.get("next", HOME), None)

    async def sign_in(self) -> Response | tuple[str, int]:
        """Takes a key. Another site's page may sign somebody in as little as act for them."""
        fields = await form()
        _refuse_other_sites()
        next_ = fields.get("next", HOME)
        client = (request.scope or {}).get("client")
        try:
            here = is_loopback(str(client[0]) if client else None)
            operator = self._operators.identify(fields.get("key", ""), from_loopback=here)
        except Refusal as refused:
            await asyncio.sleep(WRONG_KEY_WAIT_S)
            return await self._login_page(next_, refused.detail), refused.status
        answer = to(next_)
        answer.set_cookie(
            self._cookie.name, self._cookie.sign(operator), SESSION_TTL_S, path="/", secure=self._cookie.secure,
            httponly=True, samesite="Strict",
        )  # fmt: skip
        return answer

    async def sign_out(self) -> Response:
        """Forgets the cookie."""
        await confirmed_form()
        answer = to(LOGIN)
        answer.delete_cookie(self._cookie.name, path="/", secure=self._cookie.secure, httponly=True, samesite="Strict")
        return answer

    async def _check(self) -> Response | None:
        if request.endpoint in _OPEN:
            return None
        operator = self._cookie.read(request.cookies.get(self._cookie.name))
        if operator is not None:
            g.operator = operator
            return None
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            return to(f"{LOGIN}?next={quote(request.full_path.rstrip('?'))}")
        raise Refusal(HTTPStatus.UNAUTHORIZED, "you are not signed in, or not any more", fix=f"sign in at {LOGIN}")

    async def _login_page(self, next_: str, problem: str | None) -> str:
        return await render_template(
            "login.html", next=next_, problem=problem, demo_key=self._demo_key, has_keys=len(self._operators) > 0
        )


def operator() -> Operator:
    """Whose request the current one is."""
    known: Operator = g.operator
    return known


async def form() -> MultiDict[str, str]:
    """The fields of the current request's form."""
    text = (await limited_body(MAX_FORM_BYTES)).decode(errors="replace")
    try:
        return MultiDict(parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the form has too many fields", field="body") from None


async def confirmed_form() -> MultiDict[str, str]:
    """The fields of a form that this operator was shown. Raises `Refusal` where another page made it."""
    fields = await form()
    if not hmac.compare_digest(fields.get("token", "").encode(), operator().token.encode()):
        fix = "reload the page, and send its form again"
        raise Refusal(HTTPStatus.FORBIDDEN, "the form is not of this session", field="token", fix=fix)
    return fields


async def acting_form() -> MultiDict[str, str]:
    """The same for what changes something. Raises `Refusal` for who may only look."""
    fields = await confirmed_form()
    if not operator().may_act:
        fix = "ask for a key of CARILLON_OPERATOR_KEYS"
        raise Refusal(HTTPStatus.FORBIDDEN, f"{operator().name} may look, and not act", fix=fix)
    return fields


def _refuse_other_sites() -> None:
    origin = request.headers.get("Origin")
    if origin not in (None, "null") and origin.partition("://")[2] != request.host:
        raise Refusal(HTTPStatus.FORBIDDEN, "the form came from another site", field="Origin", fix=f"use {LOGIN}")


def to(address: str) -> Response:
    """A redirect inside the console, wherever the address would lead."""
    inside = address == HOME or address.startswith((f"{HOME}/", f"{HOME}?"))
    safe = inside and "\\" not in address and address.isprintable()
    answer = redirect(address if safe else HOME, HTTPStatus.SEE_OTHER)
    assert isinstance(answer, Response)
    return answer


async def _with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        if name != "Cache-Control" or request.endpoint != "console.static":
            response.headers[name] = value
    return response
