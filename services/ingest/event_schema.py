"""A CloudEvent as a JSON Schema, for the documents that describe ingest. Pure."""

from __future__ import annotations

from typing import Any

from shared.model.event import MAX_LONG_BYTES, MAX_SHORT_BYTES

Json = dict[str, Any]


def cloud_event() -> Json:
    """What every event has, whatever its type."""
    short, long = {"type": "string", "minLength": 1, "maxLength": MAX_SHORT_BYTES}, {"type": "string", "minLength": 1}
    optional = dict.fromkeys(("subject", "datacontenttype", "dataschema", "traceparent", "tracestate"), long)
    return {
        "title": "CloudEvent 1.0",
        "description": f"Texts are at most {MAX_LONG_BYTES} bytes. Further attributes are kept.",
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": short,
            "source": long,
            "type": short,
            **optional,
            "time": {"type": "string", "format": "date-time"},
            "audience": long | {"description": "Who may see it: tags, separated by spaces. Streams do not show it"},
            "final": {"enum": ["true", "false", True, False], "description": "Whether it ends its stream"},
        },
    }
