"""The edge's HTTP side: sessions, tickets, the event stream, and who is connected."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response, jsonify, request

from services.edge import control, openapi, origins
from services.edge.compression import negotiate
from services.edge.connection import EventStreamBody
from services.edge.edge import Edge
from services.edge.grants import NotGranted
from services.edge.limits import TooMany
from services.edge.selection import TICKET, parse_selection
from services.edge.sessions import NoSession, Session, SessionCookie
from services.edge.tickets import Tickets
from services.edge.tokens import InvalidToken, Token
from shared.model.errors import InvalidInput
from shared.web.keys import ApiKeys
from shared.web.problem import Refusal, problem

STREAM_PATH = "/v1/events"
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # nginx buffers responses unless the response itself asks it not to.
    "X-Accel-Buffering": "no",
}


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What decides who a request comes from."""

    cookie: SessionCookie
    tickets: Tickets
    verify: Callable[[str], Awaitable[Token]]
    operators: ApiKeys


def blueprint(edge: Edge, door: Doorkeeper) -> Blueprint:
    """The edge's routes, for an app of its own or for `carillon dev`."""
    routes = Blueprint("edge", __name__)
    cookie, allowed_origins = door.cookie, edge.settings.cors_origins

    @routes.before_request
    async def refuse_foreign_pages() -> None:
        origin, fetch_site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        # A link or an image on another site may ask to read; the answer is kept from that page anyway.
        # Not so a stream: by the cookie of its user it takes one of their places, and may close their oldest.
        if origin is None and request.method in ("GET", "HEAD") and request.path != STREAM_PATH:
            return
        if origins.is_foreign(origin, fetch_site, request.host, allowed_origins):
            fix = "add the page's origin to CARILLON_CORS_ORIGINS"
            raise Refusal(403, f"pages of {(origin or fetch_site)!r} may not use this", field="Origin", fix=fix)

    @routes.after_request
    async def let_allowed_pages_read(response: Response) -> Response:
        is_preflight = request.method == "OPTIONS"
        headers = origins.cors_headers(request.headers.get("Origin"), allowed_origins, preflight=is_preflight)
        response.vary.add(headers["Vary"])
        response.headers.update({name: value for name, value in headers.items() if name != "Vary"})
        return response

    @routes.post("/v1/session")
    async def open_session() -> Response:
        token = await door.verify(_bearer())
        session = cookie.open(token.sub, token.tags, token.expires_at)
        await _end_replaced(token.sub)
        return set_session(_private(jsonify(_about(session))), session, cookie)

    async def _end_replaced(sub: str) -> None:
        """Signing in again, perhaps with other grants, ends the session that the cookie had."""
        try:
            former = cookie.read(request.cookies.get(cookie.name))
        except NoSession:
            return
        if former.sub == sub:
            await edge.announce(control.revoked(sub, former.sid, time.time(), "replaced"))

    @routes.get("/v1/session")
    async def show_session() -> Response:
        session = await _cookie_session()
        if renewed := cookie.renewed(session):
            return set_session(_private(jsonify(_about(renewed))), renewed, cookie)
        return _private(jsonify(_about(session)))

    @routes.delete("/v1/session")
    async def end_session() -> Response:
        response = Response(status=HTTPStatus.NO_CONTENT)
        response.delete_cookie(cookie.name, path="/", secure=cookie.secure, httponly=True, samesite="Lax")
        try:
            session = await _cookie_session()
        except NoSession:
            # Signing out twice is no error.
            return _private(response)
        everywhere = _flag("everywhere")
        await edge.announce(
            control.revoked(session.sub, None if everywhere else session.sid, time.time(), "signed-out")
        )
        return _private(response)

    @routes.post("/v1/tickets")
    async def issue_ticket() -> Response:
        session = await _checked(await _bearer_or_cookie_session())
        ticket = await door.tickets.issue(session)
        return _private(jsonify(ticket=ticket, expires_in=int(door.tickets.ttl_s)))

    @routes.get(STREAM_PATH)
    async def events() -> Response:
        selection = parse_selection(request.args, request.headers.get("Last-Event-ID"))
        # Connecting checks that nobody ended it.
        session = await _presented_session()
        headers = dict(STREAM_HEADERS)
        if request.method == "HEAD":
            await edge.check(session)
            return Response(headers=headers)
        connection = await edge.connect(session, selection, _address())
        coding = negotiate(request.headers.get("Accept-Encoding", "")) if edge.settings.compression else None
        if coding is not None:
            headers |= {"Content-Encoding": coding, "Vary": "Accept-Encoding"}
        response = Response(EventStreamBody(connection, coding), headers=headers)
        # Quart would end every response after a minute.
        response.timeout = None
        if _came_by_cookie() and (renewed := cookie.renewed(session)):
            set_session(response, renewed, cookie)
        return response

    @routes.get("/v1/connections")
    async def list_connections() -> Response:
        _operator()
        limit = _number("limit", 100, openapi.MAX_LISTED)
        found = await edge.store.connections(
            sub=request.args.get("user"), after=request.args.get("after", ""), limit=limit
        )
        shown = [asdict(record) | {"opened_at": record.opened_at.isoformat()} for record in found]
        return _private(jsonify(connections=shown, next=found[-1].id if len(found) == limit else None))

    @routes.get("/v1/connections/counts")
    async def count_connections() -> Response:
        _operator()
        counts = await edge.store.counts()
        return _private(jsonify(total=sum(counts.values()), by_edge=dict(counts), here=edge.statistics()))

    @routes.delete("/v1/connections")
    async def disconnect() -> Response:
        by = _operator()
        await edge.announce(control.disconnected(_user(), request.args.get("session"), by))
        return _private(Response(status=HTTPStatus.NO_CONTENT))

    @routes.get(openapi.PATH)
    async def describe() -> Response:
        return jsonify(openapi.document())

    for refused in (NoSession, InvalidToken):
        routes.register_error_handler(refused, _unauthorized)
    routes.register_error_handler(NotGranted, _forbidden)
    routes.register_error_handler(TooMany, _too_many)

    # Who asks.

    async def _presented_session() -> Session:
        if ticket := request.args.get(TICKET):
            return await door.tickets.redeem(ticket)
        return await _bearer_or_cookie_session()

    async def _bearer_or_cookie_session() -> Session:
        if "Authorization" in request.headers:
            token = await door.verify(_bearer())
            return cookie.open(token.sub, token.tags, token.expires_at)
        return cookie.read(request.cookies.get(cookie.name))

    async def _cookie_session() -> Session:
        return await _checked(cookie.read(request.cookies.get(cookie.name)))

    async def _checked(session: Session) -> Session:
        await edge.check(session)
        return session

    def _came_by_cookie() -> bool:
        return TICKET not in request.args and "Authorization" not in request.headers

    def _operator() -> str:
        return door.operators.identify(request.headers.get("Authorization"), from_loopback=True)

    return routes


def set_session(response: Response, session: Session, cookie: SessionCookie) -> Response:
    """Gives the browser the session's cookie."""
    response.set_cookie(
        cookie.name,
        cookie.sign(session),
        max_age=int(session.seconds_left()),
        path="/",
        secure=cookie.secure,
        httponly=True,
        samesite="Lax",
    )
    return response


def _bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidToken("Authorization", "there is no bearer token", "send Authorization: Bearer <JWT>")
    return token.strip()


def _address() -> str:
    """The other end of the TCP connection: what a proxy says of its clients is not ours to believe."""
    client = (request.scope or {}).get("client")
    return str(client[0]) if client else ""


def _flag(name: str) -> bool:
    text = request.args.get(name, "0")
    if text not in ("0", "1"):
        raise InvalidInput(name, f"{text[:40]!r} is neither 0 nor 1", "use 1 for yes")
    return text == "1"


def _user() -> str:
    sub = request.args.get("user", "")
    try:
        control.control_tag(sub)
    except InvalidInput:
        fix = "name the user whose connections shall close"
        raise InvalidInput("user", f"{sub[:40]!r} is no user", fix) from None
    return sub


def _number(name: str, default: int, highest: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= highest):
        raise InvalidInput(name, f"{text[:40]!r} is out of range", f"give a number from 1 to {highest}")
    return int(text)


def _about(session: Session) -> dict[str, Any]:
    return {
        "sub": session.sub,
        "sid": session.sid,
        "tags": sorted(session.own_tags.union(session.grants)),
        "expires_at": session.expires_at,
        "expires_in": int(session.seconds_left()),
    }


def _private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


async def _unauthorized(refused: InvalidInput) -> Response:
    challenge = {"WWW-Authenticate": 'Bearer realm="carillon"'}
    return problem(401, "Not signed in", refused.problem, field=refused.field, fix=refused.fix, headers=challenge)


async def _forbidden(refused: NotGranted) -> Response:
    return problem(403, "Forbidden", refused.problem, field=refused.field, fix=refused.fix)


async def _too_many(refused: TooMany) -> Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE if refused.of_server else HTTPStatus.TOO_MANY_REQUESTS
    retry = {"Retry-After": str(refused.retry_after_s)}
    fix = f"try again in {refused.retry_after_s} s, or use one stream for all tabs"
    return problem(status, status.phrase, refused.what, fix=fix, headers=retry)
