"""The door for people and scripts: `curl -d 'Deploy finished' …/v1/publish/builds` is a notification."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from quart import Blueprint, Response, jsonify, request

from services.ingest.doors import body_of_request, producer_of_request, server_span
from services.ingest.http_binding import MediaType
from services.ingest.idempotency import HEADER, key_of_header, left_out
from services.ingest.notification import MAX_TITLE_BYTES, Notification
from services.ingest.producers import Producers
from services.ingest.reception import Reception
from shared.model.checks import flaw_of
from shared.model.errors import InvalidInput
from shared.model.event import Event
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.producer import Producer
from shared.model.tags import CONTROL, EVERYONE, INBOX, KINDS, audience_text, checked_tag, parse_audience
from shared.web.problem import Refusal

PATH = "/v1/publish/<path:target>"
ROUTE = "/v1/publish/{target}"
# Title and body together, with room for one line end in each of their characters.
MAX_TEXT_BYTES = 32 * 1024
# More than there are parameters, so that one too many can be named.
MAX_QUERY_FIELDS = 20
# Of a long first line, as title; all of it is the body then.
LONG_TITLE_CHARS = 100

NAMES = ("title", "level", "link", "topic", "tags")


def blueprint(reception: Reception, producers: Producers) -> Blueprint:
    """`POST` and `PUT /v1/publish/<topic-or-user>`."""
    routes = Blueprint("plain", __name__)

    # A topic may hold `//`, and curl follows no redirect unless it is told to.
    @routes.route(PATH, methods=["POST", "PUT"], merge_slashes=False)
    async def publish(target: str) -> tuple[Response, int]:
        with server_span(ROUTE):
            producer = await producer_of_request(producers)
            body = await body_of_request(MAX_TEXT_BYTES)
            _check_media_type(MediaType.parse(request.headers.get("Content-Type")))
            said = said_by(dict(request.headers), request.query_string)
            key = key_of_header(request.headers.get(HEADER))
            receipt = await reception.accept_one(event_of(target, said, body, producer, key), producer)
        return jsonify(accepted=[receipt.shown()], traceparent=receipt.traceparent), HTTPStatus.ACCEPTED

    return routes


def event_of(target: str, said: Mapping[str, str], body: bytes, producer: Producer, key: str | None) -> Event:
    """What a request publishes. Raises `InvalidInput`.

    Args:
        said: what headers and query say, by the names in `NAMES`.
        key: makes it the same event, however often it is sent.
    """
    tag = tag_of(target)
    kind, _, name = tag.partition(":")
    content = ({"topic": name} if kind == "topic" else {}) | _words(said, _text(body))
    content |= {name: said[name] for name in ("level", "link", "topic") if name in said}
    tags = (tag, *parse_audience(said.get("tags", "")))
    made = {"type": NOTIFICATION, "audience": audience_text(dict.fromkeys(tags)), "data": _checked(content)}
    return Event.from_attributes(left_out(producer, key) | made)


def tag_of(target: str) -> str:
    """`user:alice` and other tags as they are; whatever else is the name of a topic. Raises `InvalidInput`."""
    kind, separator, _ = target.partition(":")
    is_tag = target == EVERYONE or (separator and kind in (*KINDS, CONTROL, INBOX))
    try:
        return checked_tag(target if is_tag else f"topic:{target}")
    except InvalidInput as refused:
        fix = "end the address with a topic, such as builds/main, or with user:<name>"
        raise InvalidInput("target", refused.problem, fix) from None


def said_by(headers: Mapping[str, str], query: bytes) -> dict[str, str]:
    """What headers and query say, by the names in `NAMES`. Raises `InvalidInput`.

    Headers are UTF-8, as `curl` sends them; a query is percent-encoded UTF-8.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    in_headers = {name: _utf8(name.title(), by_name[name]) for name in NAMES if name in by_name}
    in_query = _asked(query)
    for name in in_headers.keys() & in_query.keys():
        if in_headers[name] != in_query[name]:
            raise InvalidInput(name, "header and query say different things", "say it once")
    return in_headers | in_query


def _asked(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        fix = f"percent-encode UTF-8, and name some of {', '.join(NAMES)}"
        raise InvalidInput("query", "it is not UTF-8, or has too many fields", fix) from None
    asked = dict(pairs)
    for name, _ in pairs:
        if name not in NAMES:
            raise InvalidInput(name[:80], "there is no such parameter", f"use some of {', '.join(NAMES)}")
    if len(asked) < len(pairs):
        raise InvalidInput("query", "a parameter is there twice", "say it once")
    return asked


def _utf8(name: str, value: str) -> str:
    """Headers come as bytes decoded as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise InvalidInput(name, "it is not UTF-8", "send UTF-8, or percent-encode it in the query") from None


def _text(body: bytes) -> str:
    try:
        return body.decode().replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        raise InvalidInput("body", "it is not UTF-8", "send text; bytes go to POST /v1/events") from None


def _words(said: Mapping[str, str], text: str) -> dict[str, str]:
    """Title and body; without a title, the first line is it."""
    if "title" in said:
        return {"title": said["title"]} | ({"body": text} if text else {})
    if not text:
        raise InvalidInput("body", "there is no text, and no title", "send some text, such as -d 'Deploy finished'")
    line, _, rest = text.partition("\n")
    title = " ".join(line.split())
    if len(title.encode()) > MAX_TITLE_BYTES:
        return {"title": f"{title[:LONG_TITLE_CHARS]}…", "body": text}
    return {"title": title} | ({"body": rest.strip()} if rest.strip() else {})


def _checked(content: Mapping[str, str]) -> dict[str, Any]:
    try:
        return Notification.model_validate(content).content()
    except ValidationError as refused:
        flaw = flaw_of(refused)
        field = flaw.where[0] if flaw.where else "body"
        raise InvalidInput(field, flaw.problem, flaw.fix or "see docs/reference/rpc.md") from None


def _check_media_type(media_type: MediaType) -> None:
    """`curl -d` says that its text is a form; nobody else's form or JSON is taken for words."""
    if media_type.name not in ("", "text/plain", "application/x-www-form-urlencoded") or not media_type.is_utf8:
        detail = f"{media_type.text[:80]} is no plain text in UTF-8"
        fix = "send text/plain; JSON goes to POST /v1/rpc or POST /v1/events"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, field="Content-Type", fix=fix)
