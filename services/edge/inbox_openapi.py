"""The inbox's part of the edge's OpenAPI document. Pure."""

from __future__ import annotations

from services.edge.inbox_requests import MAX_ID_CHARS, MAX_IDS, MAX_PAGE
from services.edge.openapi_parts import CURSOR_TEXT, SESSION_OR_BEARER, problems
from shared.folds.inbox_reading import MAX_COUNTED
from shared.model.notification import LEVELS
from shared.web.openapi import TEXT, Json, json_answer, object_of, operation, query, ref

_MAYBE_TEXT: Json = {"type": ["string", "null"]}
_YES: Json = {"type": "boolean"}


def paths() -> Json:
    """Every operation of the inbox, by path and method."""
    return {
        "/v1/inbox": {"get": _list_items()},
        "/v1/inbox/counts": {"get": _count_items()},
        "/v1/inbox/{mark}": {"post": _mark_items()},
        "/v1/subscriptions": {"get": _list_topics()},
        "/v1/subscriptions/{topic}": {
            "put": _change("followTopic", "Follow a topic: its notifications come to the inbox, its events to streams"),
            "delete": _change("unfollowTopic", "Follow it no longer"),
        },
        "/v1/subscriptions/{topic}/mute": {
            "put": _change("muteTopic", "Keep its notifications out of the inbox, until a time or for good", "Mute"),
            "delete": _change("unmuteTopic", "Hear of it again"),
        },
    }


def schemas() -> Json:
    """What the operations speak of."""
    counts: Json = {"type": "integer", "minimum": 0, "maximum": MAX_COUNTED}
    about = {"unread": counts, "unseen": counts, "limit": {"const": MAX_COUNTED - 1}}
    return {
        "Item": object_of(
            {
                "id": TEXT,
                "title": TEXT,
                "body": _MAYBE_TEXT,
                "link": _MAYBE_TEXT,
                "level": {"enum": list(LEVELS)},
                "topic": _MAYBE_TEXT,
                "time": {"type": "string", "format": "date-time"},
                "source": TEXT,
                "traceparent": _MAYBE_TEXT,
                "about": {"type": ["object", "null"]},
                "seen": _YES,
                "read": _YES,
                "archived": _YES,
            }
        ),
        "InboxPage": object_of(
            {
                "items": {"type": "array", "items": ref("Item"), "maxItems": MAX_PAGE},
                "next": {"anyOf": [CURSOR_TEXT, {"type": "null"}]},
                "cursor": CURSOR_TEXT,
            }
        ),
        "InboxCounts": object_of(about),
        "CountsNow": object_of(about | {"cursor": CURSOR_TEXT}),
        "Marked": object_of({"counts": ref("InboxCounts"), "cursor": CURSOR_TEXT}),
        "Marking": {
            "type": "object",
            "oneOf": [
                object_of({"ids": _ids()}) | {"additionalProperties": False},
                object_of({"through": CURSOR_TEXT}) | {"additionalProperties": False},
            ],
        },
        "Mute": {
            "type": "object",
            "properties": {"until": {"type": ["string", "null"], "format": "date-time"}},
            "additionalProperties": False,
        },
        "Subscription": object_of(
            {"topic": TEXT, "followed_at": _MAYBE_TEXT, "muted": _YES, "muted_until": _MAYBE_TEXT}
        ),
        "Subscriptions": object_of({"items": {"type": "array", "items": ref("Subscription")}, "cursor": CURSOR_TEXT}),
    }


def _ids() -> Json:
    return {"type": "array", "items": {"type": "string", "maxLength": MAX_ID_CHARS}, "minItems": 1, "maxItems": MAX_IDS}


def _list_items() -> Json:
    flag: Json = {"enum": ["0", "1"]}
    return operation(
        "listInbox",
        "The user's notifications, newest first. A stream that starts at `cursor` brings what comes after",
        {"200": json_answer("A page", "InboxPage"), **problems(400, 401, 403, 503)},
        security=SESSION_OR_BEARER,
        parameters=[
            query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}, "Items on a page"),
            query("cursor", CURSOR_TEXT, "The `next` of the page before"),
            query("unread", flag, "1 for what is unread"),
            query("archived", flag, "1 for what has been archived, which is left out otherwise"),
            query("level", {"enum": list(LEVELS)}, "Of this level"),
            query("topic", TEXT, "Of this topic"),
            query("since", {"type": "string", "format": "date-time"}, "Not older than this"),
        ],
    )


def _count_items() -> Json:
    return operation(
        "countInbox",
        "How many are unread and unseen; over `limit` there may be any number",
        {"200": json_answer("The counts", "CountsNow"), **problems(401, 403, 503)},
        security=SESSION_OR_BEARER,
    )


def _mark_items() -> Json:
    mark = {"name": "mark", "in": "path", "required": True,
            "schema": {"enum": ["seen", "read", "unread", "archive", "unarchive"]}}  # fmt: skip
    body = {"required": True, "content": {"application/json": {"schema": ref("Marking")}}}
    return operation(
        "markInbox",
        "Mark items by their ids, or all up to a cursor, so that one that arrives meanwhile is not swallowed",
        {"200": json_answer("The counts that follow", "Marked"), **problems(400, 401, 403, 404, 413, 503)},
        security=SESSION_OR_BEARER,
        parameters=[mark],
    ) | {"requestBody": body}


def _list_topics() -> Json:
    return operation(
        "listSubscriptions",
        "What the user follows and mutes",
        {"200": json_answer("The subscriptions", "Subscriptions"), **problems(401, 403, 503)},
        security=SESSION_OR_BEARER,
    )


def _change(id_: str, summary: str, body: str | None = None) -> Json:
    topic = {"name": "topic", "in": "path", "required": True, "description": "May hold slashes", "schema": TEXT}
    made = operation(
        id_,
        summary,
        {"200": json_answer("The subscriptions that follow", "Subscriptions"), **problems(400, 401, 403, 413, 503)},
        security=SESSION_OR_BEARER,
        parameters=[topic],
    )
    content = {"application/json": {"schema": ref(body)}} if body else None
    return made | ({"requestBody": {"content": content}} if content else {})
