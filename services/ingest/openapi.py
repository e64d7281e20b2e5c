"""Ingest's routes as an OpenAPI 3.1 document. Pure; a test holds it to the routes and to what they answer.

What JSON-RPC offers is in `/openrpc.json`, which types of events there are in `/asyncapi.json`.
"""

from __future__ import annotations

from services.ingest import handshake, plain
from services.ingest.catalogue import asyncapi
from services.ingest.catalogue import routes as catalogue
from services.ingest.event_schema import cloud_event
from services.ingest.http_binding import MAX_BATCH_EVENTS
from services.ingest.idempotency import HEADER, MAX_KEY_CHARS
from services.ingest.rpc import openrpc
from services.ingest.webhooks.routes import ROUTE as WEBHOOKS
from shared.model.notification import LEVELS
from shared.web import openapi
from shared.web.openapi import (
    TEXT,
    Json,
    common_schemas,
    described_by_itself,
    header,
    in_path,
    json_answer,
    object_of,
    operation,
    operational_paths,
    query,
    ref,
)
from shared.web.problem import CONTENT_TYPE

PATH = "/openapi/ingest.json"
EVENTS = "/v1/events"

PRODUCER: list[Json] = [{"key": []}, {"token": []}]

_PROBLEMS = {
    400: "The event, a parameter or the body breaks a rule; `field` names it",
    401: "No good key, token or signature",
    403: "The producer may not publish this, or not from here",
    404: "There is none",
    408: "The body did not arrive in time",
    409: "The `source` and `id` are those of another event",
    410: "The key was given up: stop sending",
    413: "The body or the event is too large",
    415: "The content type is none that is taken here; `Accept-Post` names what is",
    429: "More than the producer may publish; see Retry-After",
    503: "Broker or log do not answer, or as much is under way as this server takes; see Retry-After",
}
_OF_EVERY_POST = (400, 401, 403, 408, 409, 410, 413, 415, 429, 503)


def document() -> Json:
    """The whole document, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carillon ingest",
            "version": "1",
            "description": "Events in: CloudEvents, webhooks, JSON-RPC, plain text. 202 says that an event is stored, "
            "once, whatever is killed afterwards. Errors are problem documents (RFC 9457).",
        },
        "paths": {
            EVENTS: {"post": _publish(), "options": _consent("eventsConsent")},
            WEBHOOKS: {"post": _webhook()},
            openrpc.RPC_PATH: {"post": _call()},
            plain.ROUTE: {"post": _plain("say"), "put": _plain("sayAgain")},
            catalogue.PATH: {"get": _page("catalogue", "What types of events there are, to read", "text/html")},
            f"{catalogue.PATH}/{{name}}": {"get": _schema()},
            asyncapi.PATH: {"get": _described("asyncapi", "What types of events there are, as AsyncAPI 3")},
            openrpc.PATH: {"get": _described("openrpc", "What can be called, as OpenRPC")},
            **operational_paths(),
            PATH: {"get": described_by_itself({})},
        },
        "components": {"schemas": common_schemas() | _schemas(), "securitySchemes": _security_schemes()},
    }


def _publish() -> Json:
    accepted = json_answer("Stored, once, or stored before", "Accepted")
    some = json_answer("Of a batch, some are accepted; the others must be mended", "Accepted")
    one, many = (
        {"schema": ref("CloudEvent")},
        {"type": "array", "items": ref("CloudEvent"), "maxItems": MAX_BATCH_EVENTS},
    )
    body = {
        "application/cloudevents+json": one,
        "application/cloudevents-batch+json": {"schema": many},
        # Binary mode: the data, whatever it is, with the attributes in headers.
        "application/json": {},
        "text/plain": {"schema": TEXT},
        "application/octet-stream": {},
    }
    described = operation(
        "publish",
        "Publish a CloudEvent, or a batch of them; the Content-Type decides the mode",
        {"202": accepted, "207": some, **_problems(*_OF_EVERY_POST)},
        security=PRODUCER,
        parameters=[
            header(f"ce-{name}", TEXT, "Binary mode: an attribute, percent-encoded. Extensions go the same way")
            for name in ("specversion", "id", "source", "type", "subject", "time", "dataschema", "audience", "final")
        ],
    )
    return described | {"requestBody": {"required": True, "content": body}}


def _consent(id_: str) -> Json:
    headers = {name: {"schema": TEXT} for name in (handshake.ALLOWED_ORIGIN, handshake.ALLOWED_RATE)}
    asked = header(handshake.ORIGIN, TEXT | {"minLength": 1}, "Who wants to send", required=True)
    return operation(
        id_,
        "Consent to be sent events (CloudEvents webhooks, 4)",
        {"200": {"description": "Any origin may send; each request needs a key or a signature", "headers": headers}},
        parameters=[asked],
    )


def _webhook() -> Json:
    described = operation(
        "webhook",
        "Take what a declared source sends and signs, as it came",
        {
            "200": {
                "description": "Of the sender's test mode: taken, and dropped",
                "content": {"application/json": {}},
            },
            "202": json_answer("Stored, once, or stored before", "Accepted"),
            **_problems(404, *_OF_EVERY_POST),
        },
        security=[{"signature": []}, {}],
        parameters=[in_path("source", TEXT, "As the file of CARILLON_WEBHOOKS_FILE names it")],
    )
    return described | {"requestBody": {"required": True, "content": {"application/json": {}, "text/plain": {}}}}


def _call() -> Json:
    calls = {"anyOf": [{"type": "object"}, {"type": "array"}]}
    found = {"description": "What was found for each call", "content": {"application/json": {"schema": calls}}}
    # What passes is said as JSON-RPC says it, and by the status, too.
    later = {
        "content": {"application/json": {"schema": calls}, CONTENT_TYPE: {"schema": ref("Problem")}},
    }
    described = operation(
        "call",
        f"JSON-RPC 2.0, one call or a batch: see {openrpc.PATH}",
        {
            "200": found,
            "204": {"description": "Notifications alone: nothing is said"},
            **_problems(400, 401, 408, 410, 413, 415),
            "429": {"description": _PROBLEMS[429], **later},
            "503": {"description": _PROBLEMS[503], **later},
        },
        security=PRODUCER,
        parameters=[_idempotency_key()],
    )
    return described | {"requestBody": {"required": True, "content": {"application/json": {"schema": calls}}}}


def _plain(id_: str) -> Json:
    about = {
        "title": "One line; else the first line of the body",
        "link": "https://… or a path",
        "topic": "What it is about, for an inbox to sort by",
        "tags": "Who else is told, separated by spaces",
    }
    described = operation(
        id_,
        "Say something, in plain text, to a topic or `user:<name>`",
        {
            "202": json_answer("Stored, once, or stored before", "Accepted"),
            # Of paths that a client shortens, such as `/v1/publish/..`.
            **_problems(404, *_OF_EVERY_POST),
        },
        security=PRODUCER,
        parameters=[
            in_path("target", TEXT | {"minLength": 1}, "A topic, or a tag such as `user:alice`"),
            query("level", {"enum": list(LEVELS)}, "How it is shown"),
            *(query(name, TEXT, description) for name, description in about.items()),
            _idempotency_key(),
        ],
    )
    return described | {"requestBody": {"content": {"text/plain": {"schema": TEXT}}}}


def _idempotency_key() -> Json:
    key = TEXT | {"minLength": 1, "maxLength": MAX_KEY_CHARS}
    return header(HEADER, key, "Makes a repeated call the same one: its events are stored once")


def _page(id_: str, summary: str, content_type: str) -> Json:
    return operation(id_, summary, {"200": {"description": "The page", "content": {content_type: {"schema": TEXT}}}})


def _schema() -> Json:
    found = {
        "description": "The JSON Schema of a type, or a file of the page",
        "content": {"application/schema+json": {"schema": {"type": "object"}}, "text/css": {}, "image/svg+xml": {}},
    }
    name = in_path("name", TEXT | {"minLength": 1}, "`<type>.json`")
    return operation("schema", "The schema of a type", {"200": found, **_problems(404)}, parameters=[name])


def _described(id_: str, summary: str) -> Json:
    content = {"application/json": {"schema": {"type": "object"}}}
    return operation(id_, summary, {"200": {"description": "The document", "content": content}})


def _schemas() -> Json:
    receipt = {"source": TEXT, "id": TEXT, "duplicate": {"type": "boolean"}}
    context = TEXT | {"description": "The creation context of the event, as it is stored"}
    refused = {"index": {"type": "integer", "minimum": 0}, "status": {"type": "integer"}, "detail": TEXT}
    listed = {
        "accepted": {"type": "array", "items": ref("Receipt")},
        "refused": {"type": "array", "items": ref("Refused")},
    }
    problem = common_schemas()["Problem"]
    return {
        "CloudEvent": cloud_event(),
        "Accepted": object_of({"accepted": listed["accepted"]}, {"refused": listed["refused"], "traceparent": context}),
        "Receipt": object_of(receipt, {"traceparent": context}),
        "Refused": object_of(refused, dict.fromkeys(("source", "id", "field", "fix"), TEXT)),
        # A batch of which nothing is accepted says so of each event.
        "Problem": problem | {"properties": problem["properties"] | listed},
    }


def _security_schemes() -> Json:
    return {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key: `carillon keys add`, CARILLON_PRODUCER_KEYS",
        },
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "With `carillon_publish`"},
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "Webhook-Signature",
            "description": "Or the sender's own",
        },
    }


def _problems(*statuses: int) -> Json:
    return openapi.problems(_PROBLEMS, *statuses)
