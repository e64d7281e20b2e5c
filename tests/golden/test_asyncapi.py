"""The AsyncAPI document of our own types: as it was written down, and whole."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from services.ingest.catalogue.asyncapi import document
from services.ingest.catalogue.loading import load

GOLDEN = Path(__file__).parent / "asyncapi.json"


def test_the_document_is_as_written_down() -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden/test_asyncapi.py, and read the difference."""
    made = json.dumps(document(load(None), "carillon.events"), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "order.created.json").write_text(
        json.dumps(
            {
                "properties": {"to": {"$ref": "shop/address.json"}, "enum": {"$ref": "#/$defs/own"}},
                "$defs": {"own": {"const": {"$ref": "is data here"}}},
            }
        )
    )
    (tmp_path / "shop" / "address.json").write_text(json.dumps({"prefixItems": [{"$ref": "land.json#/$defs/code"}]}))
    (tmp_path / "shop" / "land.json").write_text(json.dumps({"$defs": {"code": {"type": "string"}}}))
    made = document(load(tmp_path), "carillon.events")
    schemas = made["components"]["schemas"]
    assert schemas["order.created"]["properties"] == {
        "to": {"$ref": "#/components/schemas/definitions.shop.address"},
        "enum": {"$ref": "#/components/schemas/order.created/$defs/own"},
    }
    assert schemas["definitions.shop.address"]["prefixItems"] == [
        {"$ref": "#/components/schemas/definitions.shop.land/$defs/code"}
    ]
    for reference in re.findall(r'"\$ref": "(#/[^"]+)"', json.dumps(made)):
        found = made
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
