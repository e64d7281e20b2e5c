"""What goes in and comes out of Carillon as an AsyncAPI 3 document, with the types of the catalogue. Pure.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from typing import Any

from services.ingest.catalogue.catalogue import Catalogue
from services.ingest.catalogue.event_type import EventType, Schema
from services.ingest.catalogue.references import led_to, with_references
from services.ingest.event_schema import cloud_event

PATH = "/asyncapi.json"

Json = dict[str, Any]

_CLOUD_EVENT = "application/cloudevents+json"
_SCHEMAS = "#/components/schemas/"


def document(catalogue: Catalogue, exchange: str) -> Json:
    """The whole document, as JSON has it.

    Args:
        exchange: to which AMQP producers publish.
    """
    types = catalogue.types.values()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Carillon",
            "version": "1",
            "description": "Events go in by AMQP (and by HTTP, which is described by OpenAPI), and come out as "
            "Server-Sent Events. Types that are not described here pass, too.",
        },
        "defaultContentType": _CLOUD_EVENT,
        "servers": _servers(),
        "channels": {
            "stream": _stream(types),
            "events": _exchange(types, exchange),
        },
        "operations": {
            "showEvents": _operation("send", "stream", "Shows a user what is meant for them, in order"),
            "takeEvents": _operation("receive", "events", "Takes what producers publish"),
        },
        "components": {
            "messages": {each.name: _message(each) for each in types},
            "schemas": _schemas(catalogue),
        },
    }


def _servers() -> Json:
    def server(name: str, protocol: str, port: int, description: str) -> Json:
        variable = {"default": f"127.0.0.1:{port}", "description": f"Where {name} is"}
        return {"host": f"{{{name}}}", "protocol": protocol, "description": description, "variables": {name: variable}}

    return {
        "edge": server("edge", "http", 8082, "Streams, for users with a session"),
        "broker": server("broker", "amqp", 5672, "RabbitMQ, for producers inside"),
    }


def _stream(types: Any) -> Json:
    return {
        "address": "/v1/events",
        "title": "A user's stream",
        "description": "Server-Sent Events (WHATWG HTML, 9.2): `event:` is the type, `id:` the cursor, `data:` the "
        "CloudEvent without its audience. Frames of the stream itself: docs/protocol.md.",
        "servers": [{"$ref": "#/servers/edge"}],
        "messages": _references(types),
    }


def _exchange(types: Any, exchange: str) -> Json:
    return {
        "address": exchange,
        "title": "The exchange of published events",
        "description": "Structured mode; the routing key is the type. Without a confirm nothing is promised.",
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": _references(types),
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": exchange, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _references(types: Any) -> Json:
    return {each.name: {"$ref": f"#/components/messages/{each.name}"} for each in types}


def _operation(action: str, channel: str, summary: str) -> Json:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(each: EventType) -> Json:
    """The CloudEvent that carries it."""
    of_type = {"type": {"const": each.name}, "data": {"$ref": f"{_SCHEMAS}{each.name}"}}
    message: Json = {
        "name": each.name,
        "title": each.title,
        "contentType": _CLOUD_EVENT,
        "payload": {"allOf": [{"$ref": f"{_SCHEMAS}{_ENVELOPE}"}, {"type": "object", "properties": of_type}]},
    }
    return message | ({"description": each.description} if each.description else {})


_ENVELOPE = "definitions.CloudEvent"


def _schemas(catalogue: Catalogue) -> Json:
    types = {each.name: _embedded(each.schema, f"{each.name}.json") for each in catalogue.types.values()}
    definitions = {_key(path): _embedded(schema, path) for path, schema in catalogue.definitions.items()}
    return {_ENVELOPE: cloud_event(), **types, **definitions}


def _key(path: str) -> str:
    """What the schema of a file is called in the document."""
    name = path.removesuffix(".json")
    return f"definitions.{name.replace('/', '.')}" if "/" in name else name


def _embedded(schema: Schema, path: str) -> Json:
    """The schema with its references leading inside the document."""

    def inside(reference: str) -> str:
        file, fragment = led_to(reference, path)
        return f"{_SCHEMAS}{_key(file)}{fragment if fragment.startswith('/') else ''}"

    return with_references({name: part for name, part in schema.items() if name not in ("$schema", "$id")}, inside)
