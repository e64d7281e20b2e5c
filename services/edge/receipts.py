"""Receipts: clients say that they have traced events, a few at a time; each becomes the last span of a trace."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from opentelemetry.trace import SpanKind
from quart import Blueprint, Response, jsonify

from services.edge.door import Doorkeeper, private
from services.edge.edge import Edge
from services.edge.grants import may_see
from services.edge.guard import guarded_blueprint
from services.edge.limits import Rate, TooMany
from services.edge.sessions import Session
from shared.model.cursor import Cursor
from shared.model.entry import Entry
from shared.model.errors import InvalidCursor, InvalidInput
from shared.model.event import decoded_json
from shared.telemetry import metrics, tracing
from shared.web.app import limited_body

PATH = "/v1/receipts"
# What a page collects in some seconds of a busy stream, a tenth of it traced; one query of the log.
MAX_RECEIVED = 100
# A hundred cursors with their times, written generously.
MAX_BODY_BYTES = 16 * 1024
# A laptop that was asleep; what is older tells nothing of the way to it.
MAX_AGO_MS = 3_600_000
# A page sends some in a minute. Ten seconds' worth may come at once, from many tabs.
RECEIPTS_PER_USER_PER_S = 1.0

_CONNECTION = re.compile(r"[A-Za-z0-9_-]{1,24}")


@dataclass(frozen=True, slots=True)
class Received:
    """One event that a client says it has."""

    position: int
    ago_ms: float


@dataclass(frozen=True, slots=True)
class Receipts:
    """What one request tells."""

    connection: str | None
    received: Sequence[Received]


def blueprint(edge: Edge, door: Doorkeeper) -> Blueprint:
    """`POST /v1/receipts`."""
    routes = guarded_blueprint("receipts", edge.settings.cors_origins)
    rate = Rate(RECEIPTS_PER_USER_PER_S)

    @routes.post(PATH)
    async def take() -> tuple[Response, int]:
        session = await door.session(edge)
        if wait_s := rate.take(session.sub, asyncio.get_running_loop().time()):
            raise TooMany("this user sends receipts too often", wait_s)
        receipts = parse_receipts(decoded_json(await limited_body(MAX_BODY_BYTES)), edge.log_id)
        found = await edge.entries({one.position for one in receipts.received})
        taken = tell(receipts, visible(found, session), session.sub)
        return private(jsonify(taken=taken)), HTTPStatus.ACCEPTED

    return routes


def parse_receipts(document: Any, log_id: str) -> Receipts:
    """The body -> Receipts. Raises `InvalidInput`. What is of another log is left out: it tells nothing here."""
    if not isinstance(document, dict):
        raise InvalidInput("body", "it is not an object", 'send {"received":[{"cursor":"…","ago_ms":0}]}')
    received = document.get("received")
    if not isinstance(received, list) or len(received) > MAX_RECEIVED:
        raise InvalidInput("received", "it is not a list of what was received", f"send at most {MAX_RECEIVED}")
    connection = document.get("connection")
    if connection is not None and not (isinstance(connection, str) and _CONNECTION.fullmatch(connection)):
        raise InvalidInput("connection", "it is not the id of a connection", "send what the frame connected said")
    parsed = map(_parsed, received)
    return Receipts(connection, [one for cursor, one in parsed if cursor.log_id == log_id])


def _parsed(one: Any) -> tuple[Cursor, Received]:
    if not isinstance(one, Mapping) or not isinstance(one.get("cursor"), str):
        raise InvalidInput("received", "an item names no cursor", "send the id of the event's frame as cursor")
    ago_ms = one.get("ago_ms", 0)
    if isinstance(ago_ms, bool) or not isinstance(ago_ms, int | float) or not 0 <= ago_ms <= MAX_AGO_MS:
        raise InvalidInput("received", "ago_ms is out of range", f"send milliseconds from 0 to {MAX_AGO_MS}")
    try:
        cursor = Cursor.parse(one["cursor"])
    except InvalidCursor as refused:
        raise InvalidInput("received", refused.problem, refused.fix) from None
    return cursor, Received(cursor.position, float(ago_ms))


def visible(entries: Sequence[Entry], session: Session) -> dict[int, Entry]:
    """Those that are traced and that the session may see, by position: of others it may tell nothing."""
    return {
        entry.position: entry
        for entry in entries
        if tracing.is_traced(entry.traceparent) and may_see(session.own_tags, session.grants, entry.audience)
    }


def tell(receipts: Receipts, entries: Mapping[int, Entry], sub: str) -> int:
    """Records a span for each of the entries that was received; returns how many."""
    now_ns = time.time_ns()
    told = {one.position: one for one in receipts.received if one.position in entries}
    for position, one in told.items():
        at_ns = now_ns - int(one.ago_ms * 1e6)
        _record(entries[position], sub, receipts.connection, at_ns)
    metrics.receipts.inc(len(told))
    return len(told)


def _record(entry: Entry, sub: str, connection: str | None, at_ns: int) -> None:
    attributes = tracing.about(entry.source, entry.id, entry.type) | {
        "messaging.operation.type": "receive",
        tracing.POSITION: entry.position,
        tracing.USER: sub,
        tracing.STEP: "received",
    }
    if connection is not None:
        attributes[tracing.CONNECTION] = connection
    tracing.record("receive", SpanKind.CONSUMER, entry.traceparent, attributes, at_ns, at_ns)
