"""What the services' OpenAPI 3.1 documents are put together from, and what is in all of them. Pure.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.web.problem import CONTENT_TYPE

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}


def operation(
    id_: str,
    summary: str,
    responses: Mapping[str, Json],
    *,
    security: list[Json] | None = None,
    parameters: list[Json] | None = None,
) -> Json:
    """One operation."""
    parts: Json = {"operationId": id_, "summary": summary, "security": security or [], "responses": dict(responses)}
    return parts | ({"parameters": parameters} if parameters else {})


def query(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    """A parameter in the query."""
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def header(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    """A parameter in the headers."""
    return query(name, schema, description, required=required) | {"in": "header"}


def in_path(name: str, schema: Json, description: str) -> Json:
    """A parameter in the path."""
    return query(name, schema, description, required=True) | {"in": "path"}


def json_answer(description: str, schema: str, headers: Json | None = None) -> Json:
    """A JSON answer of this schema."""
    answer: Json = {"description": description, "content": {"application/json": {"schema": ref(schema)}}}
    return answer | ({"headers": headers} if headers else {})


def problems(about: Mapping[int, str], *statuses: int) -> Json:
    """The problem documents that an operation answers with.

    Args:
        about: what each status means in this service.
    """
    content = {CONTENT_TYPE: {"schema": ref("Problem")}}
    return {str(status): {"description": about[status], "content": content} for status in statuses}


def object_of(required: Json, optional: Json | None = None) -> Json:
    """An object schema."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def ref(schema: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def operational_paths() -> Json:
    """What every service has for those who run it."""
    return {"/healthz": {"get": _healthz()}, "/readyz": {"get": _readyz()}, "/metrics": {"get": _metrics()}}


def described_by_itself(refusals: Json) -> Json:
    """The address of the document itself."""
    answer = {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}
    return operation("describe", "This document", {"200": answer, **refusals})


def common_schemas() -> Json:
    """Problems, and what the operational paths answer."""
    finding = {"type": "object", "additionalProperties": TEXT, "description": "`ok`, or why not, by what was asked"}
    readiness: Json = {"status": {"enum": ["ok", "degraded", "unavailable"]}, "checks": finding}
    return {
        "Problem": object_of(
            {
                "type": TEXT,
                "title": TEXT,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": TEXT,
            },
            optional={"field": TEXT, "fix": TEXT},
        ),
        "Health": object_of({"status": {"const": "ok"}}),
        "Readiness": object_of(readiness),
    }


def _healthz() -> Json:
    answers = {"200": json_answer("It lives", "Health")}
    return operation("alive", "Whether the process lives; restart it when this fails", answers)


def _readyz() -> Json:
    answers = {"200": json_answer("It is ready", "Readiness"), "503": json_answer("It cannot do its job", "Readiness")}
    return operation("ready", "Whether it can do its job; send no traffic when this fails", answers)


def _metrics() -> Json:
    page = {"schema": TEXT}
    answer = {
        "description": "Prometheus' own format, or OpenMetrics where that is asked for",
        "content": {"text/plain": page, "application/openmetrics-text": page},
    }
    return operation("metrics", "Counters, gauges and histograms of this process", {"200": answer})
