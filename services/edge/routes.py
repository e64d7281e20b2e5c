"""The edge's HTTP side: sessions and the event stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart import Blueprint, Response, jsonify, request

from services.edge.connection import EventStreamBody
from services.edge.edge import Edge
from services.edge.handover import EARLIEST
from services.edge.sessions import NoSession, Session, SessionCookie
from services.edge.tokens import InvalidToken, Token
from shared.model.cursor import Cursor
from shared.model.errors import InvalidInput
from shared.web.problem import problem

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # nginx buffers responses unless the response itself asks it not to.
    "X-Accel-Buffering": "no",
}
STREAM_PARAMETERS = frozenset({"last-event-id"})


def blueprint(edge: Edge, cookie: SessionCookie, verify: Callable[[str], Token]) -> Blueprint:
    """`/v1/session` and `/v1/events`, for an app of the edge's own or for `carillon dev`."""
    routes = Blueprint("edge", __name__)

    @routes.post("/v1/session")
    async def open_session() -> Response:
        token = verify(_bearer())
        session = cookie.open(token.sub, token.tags, token.expires_at)
        response = jsonify(_about(session))
        response.set_cookie(
            cookie.name,
            cookie.sign(session),
            max_age=int(session.seconds_left()),
            path="/",
            secure=cookie.secure,
            httponly=True,
            samesite="Lax",
        )
        return _private(response)

    @routes.get("/v1/session")
    async def show_session() -> Response:
        return _private(jsonify(_about(_session())))

    @routes.delete("/v1/session")
    async def end_session() -> Response:
        response = Response(status=204)
        response.delete_cookie(cookie.name, path="/", secure=cookie.secure, httponly=True, samesite="Lax")
        return _private(response)

    @routes.get("/v1/events")
    async def events() -> Response:
        session = _session()
        if request.method == "HEAD":
            return Response(headers=STREAM_HEADERS)
        connection = await edge.connect(session, _requested_cursor(), edge.settings.heartbeat_s)
        response = Response(EventStreamBody(connection), headers=STREAM_HEADERS)
        # Quart would end every response after a minute.
        response.timeout = None
        return response

    @routes.errorhandler(NoSession)
    async def no_session(refused: NoSession) -> Response:
        return _unauthorized(refused)

    @routes.errorhandler(InvalidToken)
    async def bad_token(refused: InvalidToken) -> Response:
        return _unauthorized(refused)

    def _session() -> Session:
        return cookie.read(request.cookies.get(cookie.name))

    return routes


def _bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidToken("Authorization", "there is no bearer token", "send Authorization: Bearer <JWT>")
    return token.strip()


def _requested_cursor() -> str | None:
    """Where the client wants to go on. The header is the browser's own and newer than the address.

    An unreadable header gets a `reset`, since no browser can mend it and any error status would
    stop its EventSource for good; an unreadable parameter was written by somebody: tell them.
    """
    for name in request.args:
        if name not in STREAM_PARAMETERS:
            known = ", ".join(sorted(STREAM_PARAMETERS))
            raise InvalidInput(name[:60], "there is no such parameter", f"use one of: {known}")
    if header := request.headers.get("Last-Event-ID"):
        return header
    parameter = request.args.get("last-event-id")
    if parameter is not None and parameter != EARLIEST:
        Cursor.parse(parameter)
    return parameter


def _about(session: Session) -> dict[str, Any]:
    return {
        "sub": session.sub,
        "sid": session.sid,
        "tags": sorted(session.tags),
        "expires_at": session.expires_at,
        "expires_in": int(session.seconds_left()),
    }


def _private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _unauthorized(refused: InvalidInput) -> Response:
    return problem(
        401,
        "Not signed in",
        refused.problem,
        field=refused.field,
        fix=refused.fix,
        headers={"WWW-Authenticate": 'Bearer realm="carillon"'},
    )
