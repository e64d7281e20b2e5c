"""The inbox and subscriptions over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from quart import Blueprint, Response, jsonify, request

from services.edge.door import Doorkeeper, private
from services.edge.edge import Edge
from services.edge.guard import guarded_blueprint
from services.edge.inbox import AsOf, Inbox, NoItem, counts_document, subscription_document
from services.edge.inbox_requests import (
    MARKS,
    MAX_MARKING_BYTES,
    parse_marking,
    parse_mute,
    parse_page,
)
from shared.folds.inbox import Subscription
from shared.folds.inbox_reading import Counts
from shared.folds.moments import shown
from shared.model.cursor import Cursor
from shared.model.errors import InvalidInput
from shared.model.event import decoded_json
from shared.web.app import limited_body
from shared.web.problem import Refusal, problem


def blueprint(edge: Edge, inbox: Inbox, door: Doorkeeper) -> Blueprint:
    """`/v1/inbox` and `/v1/subscriptions`."""
    routes = guarded_blueprint("inbox", edge.settings.cors_origins)

    @routes.get("/v1/inbox")
    async def list_items() -> Response:
        session, head = await door.session_at(edge)
        page = await inbox.page(session, parse_page(request.args, head))
        following = None if page.result.next is None else str(Cursor(head.log_id, page.result.next))
        return private(jsonify(items=page.result.items, next=following, cursor=page.cursor))

    @routes.get("/v1/inbox/counts")
    async def count_items() -> Response:
        counts = await inbox.counts(await door.session(edge))
        return private(jsonify(**counts_document(counts.result), cursor=counts.cursor))

    @routes.post("/v1/inbox/<mark>")
    async def mark_items(mark: str) -> Response:
        if mark not in MARKS:
            raise Refusal(404, f"there is no mark {mark[:40]!r}", fix=f"use one of: {', '.join(MARKS)}")
        session = await door.session(edge)
        marking = parse_marking(await _json_body(), await edge.head())
        concerned = await edge.inbox_traces.concerned(session, MARKS[mark], marking)
        counts = await inbox.mark(session, MARKS[mark], marking)
        edge.inbox_traces.marked(session, MARKS[mark], concerned)
        return _counted(counts)

    @routes.get("/v1/subscriptions")
    async def list_topics() -> Response:
        return _listed(await inbox.subscriptions(await door.session(edge)))

    @routes.put("/v1/subscriptions/<text:topic>/mute")
    async def mute(topic: str) -> Response:
        session = await door.session(edge)
        until = parse_mute(await _json_body(default={}), datetime.now(UTC))
        return _listed(await inbox.change(session, topic, "muted", until))

    @routes.delete("/v1/subscriptions/<text:topic>/mute")
    async def unmute(topic: str) -> Response:
        return _listed(await inbox.change(await door.session(edge), topic, "unmuted"))

    @routes.put("/v1/subscriptions/<text:topic>")
    async def follow(topic: str) -> Response:
        return _listed(await inbox.change(await door.session(edge), topic, "followed"))

    @routes.delete("/v1/subscriptions/<text:topic>")
    async def unfollow(topic: str) -> Response:
        return _listed(await inbox.change(await door.session(edge), topic, "unfollowed"))

    routes.register_error_handler(NoItem, _not_found)
    return routes


async def _json_body(default: Any = None) -> Any:
    body = await limited_body(MAX_MARKING_BYTES)
    if not body and default is not None:
        return default
    return decoded_json(body)


def _counted(counts: AsOf[Counts]) -> Response:
    return private(jsonify(counts=counts_document(counts.result), cursor=counts.cursor))


def _listed(topics: AsOf[Any]) -> Response:
    now = shown(datetime.now(UTC))
    found: list[Subscription] = list(topics.result)
    return private(jsonify(items=[subscription_document(each, now) for each in found], cursor=topics.cursor))


async def _not_found(refused: InvalidInput) -> Response:
    return problem(404, "Not Found", refused.problem, field=refused.field, fix=refused.fix)
