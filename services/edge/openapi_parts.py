"""What the edge's OpenAPI document is put together from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.web.problem import CONTENT_TYPE

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
SESSION_OR_BEARER: list[Json] = [{"session": []}, {"bearer": []}]


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


def json_answer(description: str, schema: str, headers: Json | None = None) -> Json:
    """A JSON answer of this schema."""
    answer: Json = {"description": description, "content": {"application/json": {"schema": ref(schema)}}}
    return answer | ({"headers": headers} if headers else {})


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
    content = {CONTENT_TYPE: {"schema": ref("Problem")}}
    return {str(status): {"description": PROBLEMS[status], "content": content} for status in statuses}


def set_cookie() -> Json:
    """The header that sets the session's cookie."""
    return {"Set-Cookie": {"schema": TEXT, "description": "The session's cookie"}}


def object_of(required: Json, optional: Json | None = None) -> Json:
    """An object schema."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def ref(schema: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}
