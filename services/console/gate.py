"""The console's door: signing in by key and out, who is there, and what every answer says to browsers."""

from __future__ import annotations

import asyncio
import hmac
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

from quart import Blueprint, Response, g, redirect, render_template, request
from werkzeug.datastructures import MultiDict

from services.console.operators import Operator, OperatorCookie, Operators, Person
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

# What a live part is told whose session is over: the page is loaded again then, and asks to sign in.
OVER = b"event: over\ndata:\n\n"

_OPEN = frozenset({"console.login", "console.sign_in", "console.begin_login", "console.finish_login", "console.static"})


class Gate:
    """Lets operators in, and knows them again.

    Args:
        demo_key: of an operator whom the page offers.
        issuer: where one can sign in, too.
    """

    def __init__(
        self, operators: Operators, cookie: OperatorCookie, demo_key: str | None, issuer: str | None = None
    ) -> None:
        self._operators, self._cookie, self._demo_key, self._issuer = operators, cookie, demo_key, issuer

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
            person = self._operators.identify(fields.get("key", ""), from_loopback=here)
        except Refusal as refused:
            await asyncio.sleep(WRONG_KEY_WAIT_S)
            return await self._login_page(next_, refused.detail), refused.status
        return self.let_in(person, next_)

    def let_in(self, person: Person, next_: str) -> Response:
        """On to the page that they wanted, with their cookie."""
        answer = to(next_)
        value = self._cookie.sign(self._cookie.open(person))
        answer.set_cookie(self._cookie.name, value, int(self._cookie.ttl_s), **self._attributes)
        return answer

    async def sign_out(self) -> Response:
        """Forgets the cookie."""
        await confirmed_form()
        answer = to(LOGIN)
        answer.delete_cookie(self._cookie.name, **self._attributes)
        return answer

    @property
    def _attributes(self) -> dict[str, Any]:
        # Lax: whoever comes from the issuer, or from a link in a chat, is signed in. Looking changes nothing, and
        # each form carries a token of its session.
        return {"path": "/", "secure": self._cookie.secure, "httponly": True, "samesite": "Lax"}

    async def _check(self) -> Response | None:
        if request.endpoint in _OPEN:
            return None
        operator = self._cookie.read(request.cookies.get(self._cookie.name))
        if operator is not None:
            g.operator = operator
            return None
        accepted = request.headers.get("Accept", "")
        if request.method == "GET" and "text/html" in accepted:
            return to(f"{LOGIN}?next={quote(request.full_path.rstrip('?'))}")
        if "text/event-stream" in accepted:
            # A browser's EventSource could not tell 401 from any other refusal.
            return Response(OVER, mimetype="text/event-stream")
        raise Refusal(HTTPStatus.UNAUTHORIZED, "you are not signed in, or not any more", fix=f"sign in at {LOGIN}")

    async def _login_page(self, next_: str, problem: str | None) -> str:
        return await render_template(
            "login.html", next=next_, problem=problem, demo_key=self._demo_key, has_keys=len(self._operators) > 0,
            issuer=self._issuer,
        )  # fmt: skip


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
        fix = "ask for a key of CARILLON_OPERATOR_KEYS, or a role of CARILLON_CONSOLE_OPERATOR_ROLES"
        raise Refusal(HTTPStatus.FORBIDDEN, f"{operator().name} may look, and not act", fix=fix)
    return fields


def _refuse_other_sites() -> None:
    origin = request.headers.get("Origin")
    if origin not in (None, "null") and origin.partition("://")[2] != request.host:
        raise Refusal(HTTPStatus.FORBIDDEN, "the form came from another site", field="Origin", fix=f"use {LOGIN}")


def to(address: str) -> Response:
    """A redirect inside the console, wherever the address would lead."""
    answer = redirect(inside(address), HTTPStatus.SEE_OTHER)
    assert isinstance(answer, Response)
    return answer


def inside(address: str) -> str:
    """The address, or the overview's where it leads out of the console."""
    is_ours = address == HOME or address.startswith((f"{HOME}/", f"{HOME}?"))
    return address if is_ours and "\\" not in address and address.isprintable() else HOME


async def _with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        if name != "Cache-Control" or request.endpoint != "console.static":
            response.headers.setdefault(name, value)
    return response
