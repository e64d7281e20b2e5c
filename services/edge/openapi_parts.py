"""What of the edge's OpenAPI document several routes have. Pure."""

from __future__ import annotations

from collections.abc import Collection

from services.edge.grants import MAX_ASKED_TOPICS, MAX_TYPE_PATTERNS
from services.edge.handover import EARLIEST
from services.edge.selection import CURSOR, MAX_HEARTBEAT_S, MIN_HEARTBEAT_S
from shared.web import openapi
from shared.web.openapi import TEXT, Json, query

CURSOR_TEXT: Json = {"type": "string", "pattern": r"^[0-9a-z]{1,32}\.(0|[1-9][0-9]{0,18})$"}
SESSION_OR_BEARER: list[Json] = [{"session": []}, {"bearer": []}]
STREAM_SECURITY: list[Json] = [*SESSION_OR_BEARER, {"ticket": []}]


def stream_parameters(known: Collection[str]) -> list[Json]:
    """The header, and those of the query's parameters that this stream knows."""
    heartbeat = {"type": "number", "minimum": MIN_HEARTBEAT_S, "maximum": MAX_HEARTBEAT_S}
    cursor = {"anyOf": [{"const": EARLIEST}, CURSOR_TEXT]}
    header = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": f"Where to go on; newer than the parameter `{CURSOR}`. An unknown one is answered by a "
        "`reset` event",
        "schema": TEXT,
    }
    of_query = [
        query(CURSOR, cursor, f"Where to begin: the id of a frame, or `{EARLIEST}`; without it, now"),
        query("topics", TEXT, f"Comma-separated topics, granted to the session; at most {MAX_ASKED_TOPICS}"),
        query("types", TEXT, f"Comma-separated event types, such as `order.*`; at most {MAX_TYPE_PATTERNS}"),
        query("as", {"const": "message"}, "`message` sends every event without its name"),
        query("heartbeat", heartbeat, "Seconds between the signs of life of a quiet stream"),
    ]
    return [header, *(one for one in of_query if one["name"] in known)]


def event_stream(description: str) -> Json:
    """A stream as answer (WHATWG HTML, 9.2). OpenAPI 3.1 has no words for what it is made of."""
    coding = {"schema": {"enum": ["br", "gzip", "zstd"]}, "description": "Where it is enabled"}
    return {
        "description": f"{description}. Each event is a CloudEvent",
        "headers": {"Content-Encoding": coding},
        "content": {"text/event-stream": {}},
    }


PROBLEMS = {
    400: "A parameter or the body is wrong; `field` names it",
    401: "Nobody is signed in, or the token, ticket or key is not good",
    403: "Not granted, or asked by a page of a foreign site",
    404: "There is none, or it is somebody else's",
    413: "The body is too large",
    429: "Too many streams, or too fast; see Retry-After",
    503: "A backend does not answer, or the server is full or about to end; see Retry-After",
}


def problems(*statuses: int) -> Json:
    """The problem documents that an operation answers with."""
    return openapi.problems(PROBLEMS, *statuses)


def set_cookie() -> Json:
    """The header that sets the session's cookie."""
    return {"Set-Cookie": {"schema": TEXT, "description": "The session's cookie"}}
