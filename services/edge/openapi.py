"""The edge's routes as an OpenAPI 3.1 document. Pure; a test holds it to the routes and to what they answer.

The login's pages are for browsers on their way to an issuer and back, and are not in it.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from services.edge import inbox_openapi, subject_openapi
from services.edge.openapi_parts import (
    SESSION_OR_BEARER,
    STREAM_SECURITY,
    event_stream,
    problems,
    set_cookie,
    stream_parameters,
)
from services.edge.receipts import MAX_AGO_MS, MAX_RECEIVED
from services.edge.selection import PARAMETERS, TICKET
from services.edge.tickets import MAX_TICKET_CHARS
from shared.web.openapi import (
    COUNT,
    TEXT,
    Json,
    common_schemas,
    described_by_itself,
    json_answer,
    object_of,
    operation,
    operational_paths,
    query,
    ref,
)

PATH = "/openapi/edge.json"
MAX_LISTED = 1000


def document() -> Json:
    """The whole document, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carillon edge",
            "version": "1",
            "description": "Sessions, tickets, event streams, the inbox. Errors are problem documents (RFC 9457).",
        },
        "paths": {
            "/v1/session": {"post": _open_session(), "get": _show_session(), "delete": _end_session()},
            "/v1/tickets": {"post": _issue_ticket()},
            "/v1/events": {"get": _events()},
            **subject_openapi.paths(),
            **inbox_openapi.paths(),
            "/v1/connections": {"get": _list_connections(), "delete": _disconnect()},
            "/v1/connections/counts": {"get": _count_connections()},
            "/client/{name}": {"get": _client_module()},
            "/v1/receipts": {"post": _take_receipts()},
            **operational_paths(),
            PATH: {"get": described_by_itself(problems(403))},
        },
        "components": {
            "schemas": common_schemas() | _schemas() | subject_openapi.schemas() | inbox_openapi.schemas(),
            "securitySchemes": _security_schemes(),
        },
    }


def _open_session() -> Json:
    return operation(
        "openSession",
        "Exchange a bearer token for the session's cookie",
        {"200": json_answer("The session; its cookie is set", "Session", set_cookie()), **problems(401, 403, 503)},
        security=[{"bearer": []}],
    )


def _show_session() -> Json:
    return operation(
        "showSession",
        "Who is signed in, and until when; renews the cookie once half of its time is over",
        {"200": json_answer("The session", "Session"), **problems(401, 403, 503)},
        security=[{"session": []}],
    )


def _end_session() -> Json:
    everywhere = query("everywhere", {"enum": ["0", "1"]}, "1 ends all sessions of the user, on every device")
    return operation(
        "endSession",
        "Sign out: streams of the session end at once on every edge. Without a session, nothing happens",
        {"204": {"description": "The session has ended", "headers": set_cookie()}, **problems(400, 403, 503)},
        security=[{"session": []}, {}],
        parameters=[everywhere],
    )


def _issue_ticket() -> Json:
    return operation(
        "issueTicket",
        "A ticket that opens one stream within seconds, for clients that can send neither cookie nor header",
        {"200": json_answer("The ticket", "Ticket"), **problems(401, 403, 503)},
        security=SESSION_OR_BEARER,
    )


def _events() -> Json:
    return operation(
        "openStream",
        "The user's events, live, and after a cursor those before",
        {"200": event_stream("The stream, for as long as the session lasts"), **problems(400, 401, 403, 429, 503)},
        security=STREAM_SECURITY,
        parameters=stream_parameters(PARAMETERS),
    )


def _list_connections() -> Json:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 100}
    return operation(
        "listConnections",
        "Open streams of all edges, in the order of their ids",
        {"200": json_answer("A page of them", "Connections"), **problems(400, 401, 403, 503)},
        security=[{"operator": []}],
        parameters=[
            query("user", TEXT, "Those of one user"),
            query("after", TEXT, "The `next` of the page before"),
            query("limit", limit, "How many"),
        ],
    )


def _disconnect() -> Json:
    return operation(
        "disconnect",
        "Closes a user's streams on every edge, or those of one session; their sessions stay",
        {"204": {"description": "They are told to close"}, **problems(400, 401, 403, 503)},
        security=[{"operator": []}],
        parameters=[
            query("user", TEXT | {"minLength": 1}, "Whose", required=True),
            query("session", TEXT, "The `sid` of one session"),
        ],
    )


def _count_connections() -> Json:
    return operation(
        "countConnections",
        "How many streams are open, on all edges and on this one",
        {"200": json_answer("Counts", "Counts"), **problems(401, 403, 503)},
        security=[{"operator": []}],
    )


def _client_module() -> Json:
    module = {
        "description": "The module, or its source map",
        "headers": {"ETag": {"schema": TEXT}},
        "content": {"text/javascript": {}, "application/json": {}},
    }
    name = {"name": "name", "in": "path", "required": True, "schema": TEXT, "description": "`carillon.js`"}
    answers = {"200": module, "304": {"description": "As the browser has it"}, **problems(404, 503)}
    return operation("clientModule", "The browser client, where it was built", answers, parameters=[name])


def _take_receipts() -> Json:
    answer = json_answer("How many of them were the user's, and are traced", "Taken")
    body = {"required": True, "content": {"application/json": {"schema": ref("Receipts")}}}
    described = operation(
        "takeReceipts",
        "Tell that traced events have arrived: those whose `traceparent` ends in an odd digit",
        {"202": answer, **problems(400, 401, 403, 413, 429, 503)},
        security=SESSION_OR_BEARER,
    )
    return described | {"requestBody": body}


def _schemas() -> Json:
    return {
        "Session": object_of(
            {
                "sub": TEXT,
                "sid": TEXT,
                "tags": {"type": "array", "items": TEXT},
                "expires_at": COUNT | {"description": "Seconds since the epoch"},
                "expires_in": COUNT | {"description": "Seconds"},
            }
        ),
        "Ticket": object_of(
            {"ticket": TEXT | {"maxLength": MAX_TICKET_CHARS}, "expires_in": COUNT | {"description": "Seconds"}}
        ),
        "Connection": object_of(
            {
                **dict.fromkeys(("id", "edge", "sub", "sid", "address"), TEXT),
                "opened_at": TEXT | {"format": "date-time"},
                "position": {
                    "type": ["integer", "null"],
                    "description": "Up to here its client was handed all that concerns it; null where that is unknown",
                },
            }
        ),
        "Connections": object_of(
            {
                "connections": {"type": "array", "items": ref("Connection"), "maxItems": MAX_LISTED},
                "next": {"type": ["string", "null"], "description": "For `after`; null at the end"},
            }
        ),
        "Counts": object_of(
            {
                "total": COUNT,
                "by_edge": {"type": "object", "additionalProperties": COUNT},
                "here": {"type": "object", "additionalProperties": COUNT},
            }
        ),
        "Receipts": object_of(
            {"received": {"type": "array", "items": ref("Received"), "maxItems": MAX_RECEIVED}},
            {"connection": TEXT | {"pattern": "^[A-Za-z0-9_-]{1,24}$", "description": "As the frame `connected` says"}},
        ),
        "Received": object_of(
            {"cursor": TEXT | {"description": "The `id` of the event's frame"}},
            {"ago_ms": {"type": "number", "minimum": 0, "maximum": MAX_AGO_MS, "description": "How long it is there"}},
        ),
        "Taken": object_of({"taken": COUNT}),
    }


def _security_schemes() -> Json:
    about_cookie = "Over http it is called `carillon`: CARILLON_COOKIE_SECURE"
    about_operator = "A key of CARILLON_OPERATOR_KEYS"
    return {
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-carillon", "description": about_cookie},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "operator": {"type": "http", "scheme": "bearer", "description": about_operator},
        "ticket": {"type": "apiKey", "in": "query", "name": TICKET, "description": "Good once"},
    }
