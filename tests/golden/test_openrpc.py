"""The OpenRPC document: as it was written down, and true to the methods."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema_rs
import pytest

from services.ingest.rpc import openrpc
from services.ingest.rpc.examples import EXAMPLES
from services.ingest.rpc.methods import METHODS

GOLDEN = Path(__file__).parent / "openrpc.json"
BY_NAME = {method["name"]: method for method in openrpc.document()["methods"]}


def test_the_document_is_as_written_down() -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden/test_openrpc.py, and read the difference."""
    made = json.dumps(openrpc.document(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def test_it_has_every_method_and_every_parameter() -> None:
    assert BY_NAME.keys() == METHODS.keys()
    for name, method in BY_NAME.items():
        fields = METHODS[name].model_fields
        assert {each["name"]: each["required"] for each in method["params"]} == {
            field: about.is_required() for field, about in fields.items()
        }


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(openrpc.document())
    for kind in ("schemas", "errors"):
        named = set(re.findall(rf'"#/components/{kind}/(\w+)"', text))
        assert named <= openrpc.document()["components"][kind].keys()


def test_every_method_and_parameter_says_what_it_is() -> None:
    for method in BY_NAME.values():
        assert method["summary"].endswith("."), method["name"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_its_schemas_describe(name: str) -> None:
    components = openrpc.document()["components"]
    schemas = {each["name"]: each["schema"] for each in BY_NAME[name]["params"]}
    for parameter, value in EXAMPLES[name].items():
        jsonschema_rs.validate({**schemas[parameter], "components": components}, value)
