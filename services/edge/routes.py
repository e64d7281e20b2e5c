"""The edge's HTTP side: sessions, tickets, the event stream, and who is connected."""

from __future__ import annotations

import time
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response, jsonify, request

from services.edge import control, openapi
from services.edge.door import Doorkeeper, bearer_token, private
from services.edge.edge import Edge
from services.edge.guard import STREAM_PATH, guarded_blueprint
from services.edge.parameters import flag, number, refuse_unknown
from services.edge.selection import parse_selection
from services.edge.sessions import NoSession, Session
from services.edge.streaming import streamed
from shared.model.control import control_tag, disconnected
from shared.model.errors import InvalidInput

SIGN_OUT_PARAMETERS = ("everywhere",)
LIST_PARAMETERS = ("user", "after", "limit")
DISCONNECT_PARAMETERS = ("user", "session")
DEFAULT_LISTED = 100


def blueprint(edge: Edge, door: Doorkeeper) -> Blueprint:
    """The edge's routes, for an app of its own or for `carillon dev`."""
    routes = guarded_blueprint("edge", edge.settings.cors_origins)
    cookie = door.cookie

    @routes.post("/v1/session")
    async def open_session() -> Response:
        token = await door.verify(bearer_token())
        session = cookie.open(token.sub, token.tags, token.expires_at)
        return await door.let_in(session, private(jsonify(_about(session))), edge)

    @routes.get("/v1/session")
    async def show_session() -> Response:
        session = await door.cookie_session(edge)
        if renewed := cookie.renewed(session):
            return door.set_session(private(jsonify(_about(renewed))), renewed)
        return private(jsonify(_about(session)))

    @routes.delete("/v1/session")
    async def end_session() -> Response:
        refuse_unknown(request.args, SIGN_OUT_PARAMETERS)
        response = Response(status=HTTPStatus.NO_CONTENT)
        response.delete_cookie(cookie.name, path="/", secure=cookie.secure, httponly=True, samesite="Lax")
        try:
            session = await door.cookie_session(edge)
        except NoSession:
            # Signing out twice is no error.
            return private(response)
        everywhere = flag(request.args, "everywhere")
        await edge.announce(
            control.revoked(session.sub, None if everywhere else session.sid, time.time(), "signed-out")
        )
        return private(response)

    @routes.post("/v1/tickets")
    async def issue_ticket() -> Response:
        session = await door.session(edge)
        ticket = await door.tickets.issue(session)
        return private(jsonify(ticket=ticket, expires_in=int(door.tickets.ttl_s)))

    @routes.get(STREAM_PATH)
    async def events() -> Response:
        selection = parse_selection(request.args, request.headers.get("Last-Event-ID"))
        return await streamed(edge, door, selection, STREAM_PATH)

    @routes.get("/v1/connections")
    async def list_connections() -> Response:
        door.operator()
        refuse_unknown(request.args, LIST_PARAMETERS)
        limit = number(request.args, "limit", DEFAULT_LISTED, openapi.MAX_LISTED)
        found = await edge.store.connections(
            sub=request.args.get("user"), after=request.args.get("after", ""), limit=limit
        )
        shown = [asdict(record) | {"opened_at": record.opened_at.isoformat()} for record in found]
        return private(jsonify(connections=shown, next=found[-1].id if len(found) == limit else None))

    @routes.get("/v1/connections/counts")
    async def count_connections() -> Response:
        door.operator()
        counts = await edge.store.counts()
        return private(jsonify(total=sum(counts.values()), by_edge=dict(counts), here=edge.statistics()))

    @routes.delete("/v1/connections")
    async def disconnect() -> Response:
        by = door.operator()
        refuse_unknown(request.args, DISCONNECT_PARAMETERS)
        await edge.announce(disconnected(_user(), request.args.get("session"), by))
        return private(Response(status=HTTPStatus.NO_CONTENT))

    @routes.get(openapi.PATH)
    async def describe() -> Response:
        return jsonify(openapi.document())

    return routes


def _user() -> str:
    sub = request.args.get("user", "")
    try:
        control_tag(sub)
    except InvalidInput:
        fix = "name the user whose connections shall close"
        raise InvalidInput("user", f"{sub[:40]!r} is no user", fix) from None
    return sub


def _about(session: Session) -> dict[str, Any]:
    return {
        "sub": session.sub,
        "sid": session.sid,
        "tags": sorted(session.own_tags.union(session.grants)),
        "expires_at": session.expires_at,
        "expires_in": int(session.seconds_left()),
    }
