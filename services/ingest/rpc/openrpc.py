"""The methods as an OpenRPC document, made from their table. Pure.

Source: https://spec.open-rpc.org
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from services.ingest.rpc.envelope import MAX_BATCH_CALLS
from services.ingest.rpc.examples import EXAMPLES
from services.ingest.rpc.faults import MEANINGS, Code
from services.ingest.rpc.methods import DISCOVER, METHODS, PUBLISHING
from services.ingest.rpc.params import Params, names_of

PATH = "/openrpc.json"
RPC_PATH = "/v1/rpc"

Json = dict[str, Any]

# What only who publishes can meet.
OF_PUBLISHING = (Code.UNAVAILABLE, Code.CONFLICT, Code.NOT_ALLOWED, Code.RATE_LIMITED)
RECEIPT = {
    "source": "/producers/shop",
    "id": "0b0f8a34-5f5c-4f2e-9f0e-3f6a4c1d2e5b",
    "duplicate": False,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}

_REF = "#/components/schemas/{model}"


@cache
def document() -> Json:
    """The whole document, as JSON has it. Not to be changed: it is made once."""
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "Carillon",
            "version": "1",
            "description": f"Methods that publish events. Parameters go by name. A batch holds up to {MAX_BATCH_CALLS} "
            "calls, whose events are published in their order. The data of an error name the field, the problem and "
            "the fix.",
        },
        "methods": [_method(name, params) for name, params in METHODS.items()],
        "components": {"schemas": _schemas(), "errors": {code.name: _error(code) for code in Code}},
    }


def _method(name: str, params: type[Params]) -> Json:
    schema = _schema(params)
    return {
        "name": name,
        "summary": inspect.getdoc(params),
        "paramStructure": "by-name",
        "params": [_descriptor(each, schema) for each in names_of(params)],
        "result": _result(name),
        "errors": [{"$ref": f"#/components/errors/{code.name}"} for code in _errors(name)],
        **({"examples": [_example(name)]} if name in PUBLISHING else {}),
    }


def _descriptor(name: str, of: Json) -> Json:
    schema = _unless_left_out(of["properties"][name])
    about = {"description": schema.pop("description")} if "description" in schema else {}
    return {"name": name, **about, "required": name in of.get("required", ()), "schema": schema}


def _unless_left_out(schema: Json) -> Json:
    """Of an optional parameter, what it is if it is there: `required` says the rest."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {name: each for name, each in schema.items() if (name, each) != ("default", None)}
    if len(kinds) == 1 and len(kinds) < len(schema["anyOf"]):
        return {**kinds[0], **{name: each for name, each in rest.items() if name != "anyOf"}}
    return rest


def _result(name: str) -> Json:
    if name in PUBLISHING:
        return {"name": "receipt", "schema": {"$ref": "#/components/schemas/Receipt"}}
    return {"name": "document" if name == DISCOVER else "outcome", "schema": {"type": "object"}}


def _errors(name: str) -> list[Code]:
    """Those of a lawful call; the others are met before its method is known."""
    return [Code.INVALID_PARAMS, Code.INTERNAL_ERROR, *(OF_PUBLISHING if name in PUBLISHING else ())]


def _example(name: str) -> Json:
    params = [{"name": each, "value": value} for each, value in EXAMPLES[name].items()]
    return {"name": f"{name} by name", "params": params, "result": {"name": "receipt", "value": RECEIPT}}


def _error(code: Code) -> Json:
    return {"code": int(code), "message": code.message, "data": MEANINGS[code]}


def _schema(params: type[Params]) -> Json:
    """The parameters' schema, with references into the document."""
    found: Json = _without_titles(params.model_json_schema(ref_template=_REF))
    return found


def _schemas() -> Json:
    """What the parameters refer to, and what is answered."""
    shared = {name: schema for params in METHODS.values() for name, schema in _schema(params).get("$defs", {}).items()}
    return {**shared, "Receipt": _receipt()}


def _receipt() -> Json:
    text = {"type": "string"}
    properties = {
        "source": text,
        "id": {**text, "description": "With source, which event it is"},
        "duplicate": {"type": "boolean", "description": "Whether the log held it already"},
        "traceparent": {"type": ["string", "null"], "description": "The trace that it belongs to"},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _without_titles(schema: Any) -> Any:
    """Pydantic makes one of each name, which says nothing; what is called `title` itself is no string."""
    match schema:
        case dict():
            kept = {name: each for name, each in schema.items() if name != "title" or not isinstance(each, str)}
            return {name: _without_titles(each) for name, each in kept.items()}
        case list():
            return [_without_titles(each) for each in schema]
        case _:
            return schema
