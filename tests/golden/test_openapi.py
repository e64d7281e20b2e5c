"""The edge's OpenAPI document: as it was written down, and true to the routes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from services.edge import openapi
from services.edge.selection import PARAMETERS
from tests.harness.own_edge import OwnEdge, own_edge

GOLDEN = Path(__file__).parent / "edge_openapi.json"
# Each GET has the one, and every route the other.
UNDOCUMENTED = {"HEAD", "OPTIONS"}


def test_the_document_is_as_written_down() -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden/test_openapi.py, and read the difference."""
    made = json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def test_every_reference_leads_somewhere() -> None:
    made = openapi.document()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(made)))
    assert named == made["components"]["schemas"].keys()


async def test_it_has_every_route_and_no_other() -> None:
    async with own_edge() as own:
        assert documented() == served_routes(own)


def documented() -> set[tuple[str, str]]:
    """(method, path) of every operation."""
    return {(method.upper(), path) for path, item in openapi.document()["paths"].items() for method in item}


def served_routes(own: OwnEdge) -> set[tuple[str, str]]:
    """(method, path) of every route of the app."""
    rules = own.app.url_map.iter_rules()
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - UNDOCUMENTED
    }


def test_it_has_every_parameter_of_a_stream_and_no_other() -> None:
    operation = openapi.document()["paths"]["/v1/events"]["get"]
    inside = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
    tickets = {each["name"] for each in openapi.document()["components"]["securitySchemes"].values() if "name" in each}
    assert inside | (tickets & {"ticket"}) == set(PARAMETERS)


async def test_it_is_served() -> None:
    async with own_edge() as own:
        answer = await own.app.test_client().get(openapi.PATH)
        assert (answer.status_code, await answer.get_json()) == (200, openapi.document())
