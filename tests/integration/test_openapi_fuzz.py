"""schemathesis on the OpenAPI document, straight into the app: what it sends, lawful or not, is answered as described.

The document's word counts for every status, content type and schema; what nobody described is a failure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.edge import openapi
from tests.integration.described import CHECKS, as_bytes, as_httpx, cases_of, encoded, prepared
from tests.integration.fuzzing import CREDENTIALS, Fuzzed, fuzzed_edge

cases = cases_of(openapi.document())


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
