"""The edge's routes as an OpenAPI 3.1 document. Pure; a test holds it to the routes and to what they answer.

The login's pages are for browsers on their way to an issuer and back, and are not in it.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.edge.grants import MAX_ASKED_TOPICS, MAX_TYPE_PATTERNS
from services.edge.handover import EARLIEST
from services.edge.selection import CURSOR, MAX_HEARTBEAT_S, MIN_HEARTBEAT_S, TICKET
from services.edge.tickets import MAX_TICKET_CHARS
from shared.web.problem import CONTENT_TYPE

PATH = "/openapi/edge.json"
MAX_LISTED = 1000

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
SESSION_OR_BEARER: list[Json] = [{"session": []}, {"bearer": []}]


def document() -> Json:
    """The whole document, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carillon edge",
            "version": "1",
            "description": "Sessions, tickets and the event stream. Errors are problem documents (RFC 9457).",
        },
        "paths": {
            "/v1/session": {"post": _open_session(), "get": _show_session(), "delete": _end_session()},
            "/v1/tickets": {"post": _issue_ticket()},
            "/v1/events": {"get": _events()},
            "/v1/connections": {"get": _list_connections(), "delete": _disconnect()},
            "/v1/connections/counts": {"get": _count_connections()},
            "/healthz": {"get": _healthz()},
            "/readyz": {"get": _readyz()},
            "/metrics": {"get": _metrics()},
            PATH: {"get": _this()},
        },
        "components": {"schemas": _schemas(), "securitySchemes": _security_schemes()},
    }


def _open_session() -> Json:
    return _operation(
        "openSession",
        "Exchange a bearer token for the session's cookie",
        {"200": _json("The session; its cookie is set", "Session", _set_cookie()), **_problems(401, 403, 503)},
        security=[{"bearer": []}],
    )


def _show_session() -> Json:
    return _operation(
        "showSession",
        "Who is signed in, and until when; renews the cookie once half of its time is over",
        {"200": _json("The session", "Session"), **_problems(401, 403, 503)},
        security=[{"session": []}],
    )


def _end_session() -> Json:
    everywhere = _query("everywhere", {"enum": ["0", "1"]}, "1 ends all sessions of the user, on every device")
    return _operation(
        "endSession",
        "Sign out: streams of the session end at once on every edge. Without a session, nothing happens",
        {"204": {"description": "The session has ended", "headers": _set_cookie()}, **_problems(400, 403, 503)},
        security=[{"session": []}, {}],
        parameters=[everywhere],
    )


def _issue_ticket() -> Json:
    return _operation(
        "issueTicket",
        "A ticket that opens one stream within seconds, for clients that can send neither cookie nor header",
        {"200": _json("The ticket", "Ticket"), **_problems(401, 403, 503)},
        security=SESSION_OR_BEARER,
    )


def _events() -> Json:
    stream = {
        "description": "The stream, for as long as the session lasts (WHATWG HTML, 9.2). Each event is a CloudEvent.",
        "headers": {
            "Content-Encoding": {"schema": {"enum": ["br", "gzip", "zstd"]}, "description": "Where it is enabled"}
        },
        # OpenAPI 3.1 has no words for what a stream is made of.
        "content": {"text/event-stream": {}},
    }
    return _operation(
        "openStream",
        "The user's events, live, and after a cursor those before",
        {"200": stream, **_problems(400, 401, 403, 429, 503)},
        security=[*SESSION_OR_BEARER, {"ticket": []}],
        parameters=_stream_parameters(),
    )


def _stream_parameters() -> list[Json]:
    heartbeat = {"type": "number", "minimum": MIN_HEARTBEAT_S, "maximum": MAX_HEARTBEAT_S}
    cursor = {"anyOf": [{"const": EARLIEST}, {"type": "string", "pattern": r"^[0-9a-z]{1,32}\.(0|[1-9][0-9]{0,18})$"}]}
    return [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": f"Where to go on; newer than the parameter `{CURSOR}`. An unknown one is answered by a "
            "`reset` event",
            "schema": TEXT,
        },
        _query(CURSOR, cursor, f"Where to begin: the id of a frame, or `{EARLIEST}`; without it, now"),
        _query("topics", TEXT, f"Comma-separated topics, granted to the session; at most {MAX_ASKED_TOPICS}"),
        _query("types", TEXT, f"Comma-separated event types, such as `order.*`; at most {MAX_TYPE_PATTERNS}"),
        _query("as", {"const": "message"}, "`message` sends every event without its name"),
        _query("heartbeat", heartbeat, "Seconds between the signs of life of a quiet stream"),
    ]


def _list_connections() -> Json:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 100}
    return _operation(
        "listConnections",
        "Open streams of all edges, in the order of their ids",
        {"200": _json("A page of them", "Connections"), **_problems(400, 401, 403, 503)},
        security=[{"operator": []}],
        parameters=[
            _query("user", TEXT, "Those of one user"),
            _query("after", TEXT, "The `next` of the page before"),
            _query("limit", limit, "How many"),
        ],
    )


def _disconnect() -> Json:
    return _operation(
        "disconnect",
        "Closes a user's streams on every edge, or those of one session; their sessions stay",
        {"204": {"description": "They are told to close"}, **_problems(400, 401, 403, 503)},
        security=[{"operator": []}],
        parameters=[
            _query("user", TEXT | {"minLength": 1}, "Whose", required=True),
            _query("session", TEXT, "The `sid` of one session"),
        ],
    )


def _count_connections() -> Json:
    return _operation(
        "countConnections",
        "How many streams are open, on all edges and on this one",
        {"200": _json("Counts", "Counts"), **_problems(401, 403, 503)},
        security=[{"operator": []}],
    )


def _healthz() -> Json:
    answers = {"200": _json("It lives", "Health")}
    return _operation("alive", "Whether the process lives; restart it when this fails", answers)


def _readyz() -> Json:
    answers = {"200": _json("It is ready", "Readiness"), "503": _json("It cannot do its job", "Readiness")}
    return _operation("ready", "Whether it can do its job; send no traffic when this fails", answers)


def _metrics() -> Json:
    page = {"schema": TEXT}
    answer = {
        "description": "Prometheus' own format, or OpenMetrics where that is asked for",
        "content": {"text/plain": page, "application/openmetrics-text": page},
    }
    return _operation("metrics", "Counters, gauges and histograms of this process", {"200": answer})


def _this() -> Json:
    answer = {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}
    return _operation("describe", "This document", {"200": answer, **_problems(403)})


def _schemas() -> Json:
    finding = {"type": "object", "additionalProperties": TEXT, "description": "`ok`, or why not, by what was asked"}
    readiness: Json = {"status": {"enum": ["ok", "degraded", "unavailable"]}, "checks": finding}
    return {
        "Problem": _object(
            {
                "type": TEXT,
                "title": TEXT,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": TEXT,
            },
            optional={"field": TEXT, "fix": TEXT},
        ),
        "Session": _object(
            {
                "sub": TEXT,
                "sid": TEXT,
                "tags": {"type": "array", "items": TEXT},
                "expires_at": COUNT | {"description": "Seconds since the epoch"},
                "expires_in": COUNT | {"description": "Seconds"},
            }
        ),
        "Ticket": _object(
            {"ticket": TEXT | {"maxLength": MAX_TICKET_CHARS}, "expires_in": COUNT | {"description": "Seconds"}}
        ),
        "Connection": _object(
            {
                **dict.fromkeys(("id", "edge", "sub", "sid", "address"), TEXT),
                "opened_at": TEXT | {"format": "date-time"},
            }
        ),
        "Connections": _object(
            {
                "connections": {"type": "array", "items": _ref("Connection"), "maxItems": MAX_LISTED},
                "next": {"type": ["string", "null"], "description": "For `after`; null at the end"},
            }
        ),
        "Counts": _object(
            {
                "total": COUNT,
                "by_edge": {"type": "object", "additionalProperties": COUNT},
                "here": {"type": "object", "additionalProperties": COUNT},
            }
        ),
        "Health": _object({"status": {"const": "ok"}}),
        "Readiness": _object(readiness),
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


def _operation(
    id_: str,
    summary: str,
    responses: Mapping[str, Json],
    *,
    security: list[Json] | None = None,
    parameters: list[Json] | None = None,
) -> Json:
    parts: Json = {"operationId": id_, "summary": summary, "security": security or [], "responses": dict(responses)}
    return parts | ({"parameters": parameters} if parameters else {})


def _query(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def _json(description: str, schema: str, headers: Json | None = None) -> Json:
    answer: Json = {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}
    return answer | ({"headers": headers} if headers else {})


_PROBLEMS = {
    400: "A parameter is wrong; `field` names it",
    401: "Nobody is signed in, or the token, ticket or key is not good",
    403: "Not granted, or asked by a page of a foreign site",
    429: "Too many streams, or too fast; see Retry-After",
    503: "A backend does not answer, or the server is full or about to end; see Retry-After",
}


def _problems(*statuses: int) -> Json:
    content = {CONTENT_TYPE: {"schema": _ref("Problem")}}
    return {str(status): {"description": _PROBLEMS[status], "content": content} for status in statuses}


def _set_cookie() -> Json:
    return {"Set-Cookie": {"schema": TEXT, "description": "The session's cookie"}}


def _object(required: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}
