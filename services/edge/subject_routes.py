"""Streams by subject over HTTP: their state, lists of them, and both as they go on."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from quart import Blueprint, Response, jsonify, request

from services.edge.door import private
from services.edge.guard import guarded_blueprint
from services.edge.parameters import refuse_unknown
from services.edge.selection import parse_selection
from services.edge.streaming import streamed
from services.edge.subject_requests import (
    PREFIX_PARAMETERS,
    SNAPSHOT_PARAMETERS,
    SUBJECT_PARAMETERS,
    parse_listing,
    parse_prefix,
    parse_topics,
)
from services.edge.subject_view import AlreadyEnded, NoStream, SubjectView
from services.edge.view import PrefixView
from shared.web.problem import Refusal

if TYPE_CHECKING:
    from services.edge.door import Doorkeeper
    from services.edge.edge import Edge
    from services.edge.sessions import Session
    from shared.model.entry import Head

PATH = "/v1/streams"


def blueprint(edge: Edge, door: Doorkeeper) -> Blueprint:
    """`/v1/streams…`."""
    routes = guarded_blueprint("subjects", edge.settings.cors_origins)

    async def _tags(session: Session, head: Head) -> frozenset[str]:
        return await edge.tags_of(session, parse_topics(request.args), head)

    @routes.get(PATH)
    async def list_streams() -> Response:
        session, head = await door.session_at(edge)
        wanted = parse_listing(request.args, edge.log_id)
        found = await edge.subjects.listed(await _tags(session, head), wanted)
        return private(jsonify(found.document()))

    @routes.get(f"{PATH}/events")
    async def stream_by_prefix() -> Response:
        prefix = parse_prefix(request.args)
        selection = parse_selection(request.args, request.headers.get("Last-Event-ID"), PREFIX_PARAMETERS)
        return await streamed(edge, door, selection, f"{PATH}/events", PrefixView(selection, prefix))

    @routes.get(f"{PATH}/<text:subject>/events", merge_slashes=False)
    async def stream_subject(subject: str) -> Response:
        selection = parse_selection(request.args, request.headers.get("Last-Event-ID"), SUBJECT_PARAMETERS)
        view = SubjectView(selection, subject, edge.subjects, edge.settings)
        try:
            return await streamed(edge, door, selection, f"{PATH}/{{subject}}/events", view)
        except AlreadyEnded:
            # A browser's EventSource comes back after every end, until it is told that there is no more.
            return private(Response(status=HTTPStatus.NO_CONTENT))
        except NoStream:
            raise no_stream(subject) from None

    @routes.get(f"{PATH}/<text:subject>", merge_slashes=False)
    async def show_stream(subject: str) -> Response:
        refuse_unknown(request.args, SNAPSHOT_PARAMETERS)
        session, head = await door.session_at(edge)
        whole, tags = await asyncio.gather(edge.subjects.whole(subject), _tags(session, head))
        found = await edge.subjects.seen(whole, tags)
        if not found.stream.version:
            raise no_stream(subject)
        return private(jsonify(found.document()))

    return routes


def no_stream(subject: str) -> Refusal:
    """There is none, or none of whose events the session may see: nobody is told which."""
    fix = "look at its name; it begins with its first event, and is there for whom its events address"
    return Refusal(404, f"there is no stream {subject[:80]!r} for this session", field="subject", fix=fix)
