"""schemathesis on the OpenAPI document, straight into the app: what it sends, lawful or not, is answered as described.

The document's word counts for every status, content type and schema; what nobody described is a failure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.edge import openapi
from tests.harness.asgi import Answer
from tests.integration.fuzzing import CREDENTIALS, Fuzzed, fuzzed_edge

pytestmark = pytest.mark.timeout(90)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PATHS = openapi.document()["paths"]
SCHEMA = schemathesis.openapi.from_dict(openapi.document())
OPERATIONS = [SCHEMA[path][method] for path, operations in PATHS.items() for method in operations]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
cases = st.one_of([each.as_strategy(generation_mode=mode) for each in OPERATIONS for mode in MODES])


@pytest.fixture
async def fuzzed() -> AsyncIterator[Fuzzed]:
    async with fuzzed_edge() as edge:
        yield edge


@settings(
    max_examples=250,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(case=cases, kind=st.sampled_from([*CREDENTIALS, "bearer", "cookie", "operator", "operator"]))
async def test_every_answer_is_as_described(fuzzed: Fuzzed, case: Any, kind: str) -> None:
    sent = prepared(case)
    known, parameter = await fuzzed.credentials(kind)
    # Ours first: whoever has credentials gets past the door, and what was generated is tried behind it.
    own = {name for name, _ in known}
    generated = [(name.lower().encode(), encoded(value)) for name, value in sent.headers.items()]
    target = str(sent.path_url).encode() + (f"{'&' if '?' in sent.path_url else '?'}{parameter}".encode())
    headers = [*known, *((name, value) for name, value in generated if name not in own)]
    answer = await fuzzed.ask(str(sent.method), target, headers, as_bytes(sent.body))
    case.validate_response(as_httpx(answer, sent), checks=CHECKS)


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
