"""The OpenAPI documents of edge and ingest: as they were written down, and true to the routes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from services.edge import openapi as edge_openapi
from services.edge.selection import PARAMETERS
from services.ingest import openapi as ingest_openapi
from tests.harness.own_edge import own_edge
from tests.harness.own_ingest import own_ingest

FOLDER = Path(__file__).parent
# Each GET has the one, and every route the other.
UNDOCUMENTED = {"HEAD", "OPTIONS"}


@asynccontextmanager
async def edge() -> AsyncIterator[Quart]:
    async with own_edge() as own:
        yield own.app


@asynccontextmanager
async def ingest() -> AsyncIterator[Quart]:
    async with own_ingest() as own:
        yield own.app


@dataclass(frozen=True)
class Described:
    """A service, and what it says of itself."""

    document: Callable[[], dict[str, Any]]
    path: str
    golden: Path
    app: Callable[[], AbstractAsyncContextManager[Quart]]


SERVICES = {
    "edge": Described(edge_openapi.document, edge_openapi.PATH, FOLDER / "edge_openapi.json", edge),
    "ingest": Described(ingest_openapi.document, ingest_openapi.PATH, FOLDER / "ingest_openapi.json", ingest),
}
each = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@each
def test_the_document_is_as_written_down(service: Described) -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden/test_openapi.py, and read the difference."""
    made = json.dumps(service.document(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        service.golden.write_text(made)
    assert made == service.golden.read_text()


@each
def test_every_reference_leads_somewhere(service: Described) -> None:
    made = service.document()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(made)))
    assert named == made["components"]["schemas"].keys()


@each
async def test_it_has_every_route_and_no_other(service: Described) -> None:
    async with service.app() as app:
        assert documented(service) == served_routes(app)


def documented(service: Described) -> set[tuple[str, str]]:
    """(method, path) of every operation."""
    paths = service.document()["paths"].items()
    return {(method.upper(), path) for path, item in paths for method in item if method.upper() not in UNDOCUMENTED}


def served_routes(app: Quart) -> set[tuple[str, str]]:
    """(method, path) of every route of the app."""
    return {
        (method, re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - UNDOCUMENTED
    }


def test_the_edge_has_every_parameter_of_a_stream_and_no_other() -> None:
    document = edge_openapi.document()
    inside = {one["name"] for one in document["paths"]["/v1/events"]["get"]["parameters"] if one["in"] == "query"}
    tickets = {one["name"] for one in document["components"]["securitySchemes"].values() if "name" in one}
    assert inside | (tickets & {"ticket"}) == set(PARAMETERS)


@each
async def test_it_is_served(service: Described) -> None:
    async with service.app() as app:
        answer = await app.test_client().get(service.path)
        assert (answer.status_code, await answer.get_json()) == (200, service.document())
