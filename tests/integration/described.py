"""schemathesis, straight into an app: what a document describes or forbids, and what it says of the answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.harness.asgi import Answer

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


def cases_of(document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Cases of every operation, lawful and not."""
    schema = schemathesis.openapi.from_dict(document)
    operations = [schema[path][method] for path, item in document["paths"].items() for method in item]
    return st.one_of([each.as_strategy(generation_mode=mode) for each in operations for mode in MODES])


def prepared(case: Any) -> requests.PreparedRequest:
    """The case as bytes would go over the wire."""
    made = case.as_transport_kwargs(base_url="http://edge.test")
    of_request = ("method", "url", "headers", "data", "json", "params", "cookies", "files")
    return requests.Request(**{name: value for name, value in made.items() if name in of_request}).prepare()


def encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", errors="replace")


def as_bytes(body: object) -> bytes:
    return encoded(body) if isinstance(body, str | bytes) else b""


def as_httpx(answer: Answer, sent: requests.PreparedRequest) -> httpx.Response:
    request = httpx.Request(str(sent.method), str(sent.url))
    response = httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)
    response.elapsed = timedelta(0)
    return response
