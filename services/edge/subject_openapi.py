"""The part of the edge's OpenAPI document that is about streams by subject. Pure."""

from __future__ import annotations

from services.edge.openapi_parts import (
    CURSOR_TEXT,
    SESSION_OR_BEARER,
    STREAM_SECURITY,
    event_stream,
    problems,
    stream_parameters,
)
from services.edge.subject_requests import (
    DEFAULT_LISTED,
    MAX_LISTED,
    PREFIX_PARAMETERS,
    SUBJECT_PARAMETERS,
)
from shared.folds.streams import MAX_COUNTED, STATUSES
from shared.web.openapi import COUNT, TEXT, Json, json_answer, object_of, operation, query, ref

_SUBJECT: Json = {
    "name": "subject",
    "in": "path",
    "required": True,
    "description": "Such as `job/123`; may hold slashes",
    "schema": TEXT | {"minLength": 1},
}
_TOPICS = query("topics", TEXT, "Comma-separated topics that the session may see; without it, all granted by name")


def paths() -> Json:
    """Every operation, by path and method."""
    return {
        "/v1/streams": {"get": _list()},
        "/v1/streams/events": {"get": _stream_by_prefix()},
        "/v1/streams/{subject}": {"get": _show()},
        "/v1/streams/{subject}/events": {"get": _stream()},
    }


def schemas() -> Json:
    """What the operations speak of."""
    time: Json = {"type": ["string", "null"], "format": "date-time"}
    summary: Json = {
        "subject": TEXT,
        "version": COUNT | {"description": "Of the last event in it"},
        "status": {"enum": [*STATUSES, None]},
        "progress": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
        "started_at": time,
        "updated_at": time,
        "ended_at": time,
        "duration_ms": {"type": ["integer", "null"], "minimum": 0, "description": "Of what has ended"},
        "final": {"type": "boolean", "description": "Whether it has ended"},
        "truncated": {"type": "boolean", "description": "Whether the state leaves something out that was too large"},
    }
    state: Json = {"type": "object", "description": "The merge patch (RFC 7396) of the events' data"}
    return {
        "StreamSummary": object_of(summary),
        "StreamState": object_of(summary | {"state": state, "cursor": CURSOR_TEXT}),
        "StreamList": object_of(
            {
                "items": {"type": "array", "items": ref("StreamSummary"), "maxItems": MAX_LISTED},
                "counts": {
                    "type": "object",
                    "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAX_COUNTED},
                    "description": "By status, of all under the prefix; over `counts_limit` there may be any number",
                },
                "counts_limit": {"const": MAX_COUNTED - 1},
                "next": {"anyOf": [CURSOR_TEXT, {"type": "null"}]},
                "cursor": CURSOR_TEXT,
            }
        ),
    }


def _list() -> Json:
    limit: Json = {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": DEFAULT_LISTED}
    return operation(
        "listStreams",
        "Streams that the session may see, those that began last first. Events after `cursor` are not in it",
        {"200": json_answer("A page", "StreamList"), **problems(400, 401, 403, 503)},
        security=SESSION_OR_BEARER,
        parameters=[
            query("prefix", TEXT, "Leading parts of the subjects, such as `job/`"),
            query("status", TEXT, f"Comma-separated, of: {', '.join(STATUSES)}"),
            query("cursor", CURSOR_TEXT, "The `next` of the page before"),
            query("limit", limit, "Streams on a page"),
            _TOPICS,
        ],
    )


def _show() -> Json:
    return operation(
        "showStream",
        "What is known of one subject, to the end of the log",
        {"200": json_answer("Its state", "StreamState"), **problems(400, 401, 403, 404, 503)},
        security=SESSION_OR_BEARER,
        parameters=[_SUBJECT, _TOPICS],
    )


def _stream() -> Json:
    answer = event_stream("`snapshot` first, then its events, and `end` after the last one")
    ended = {"description": "It has ended, and the client has seen that: do not come back"}
    return operation(
        "openSubject",
        "One subject, live. One that has not begun is waited for",
        {"200": answer, "204": ended, **problems(400, 401, 403, 404, 429, 503)},
        security=STREAM_SECURITY,
        parameters=[_SUBJECT, *stream_parameters(SUBJECT_PARAMETERS)],
    )


def _stream_by_prefix() -> Json:
    return operation(
        "openSubjects",
        "All subjects under a prefix on one connection",
        {"200": event_stream("The events of all of them"), **problems(400, 401, 403, 429, 503)},
        security=STREAM_SECURITY,
        parameters=[
            query("prefix", TEXT | {"minLength": 1}, "How the subjects begin, such as `job/`", required=True),
            *stream_parameters(PREFIX_PARAMETERS),
        ],
    )
