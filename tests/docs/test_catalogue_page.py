"""docs/reference/catalogue.md against the catalogue, and its example against the loader."""

from __future__ import annotations

import json
import re
from pathlib import Path

from services.ingest.catalogue.event_type import VALIDATIONS
from services.ingest.catalogue.loading import DEFAULT_VALIDATION, load
from tests.docs.pages import section, text_of

PAGE = text_of("docs/reference/catalogue.md")


def test_our_types_are_told_with_what_they_need() -> None:
    ours = load(None).types
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", section(PAGE, "Carillon's own types"), re.MULTILINE)
    told = {name: data for names, data in rows for name in re.findall(r"`([^`]+)`", names)}
    assert told.keys() == ours.keys()
    for name, data in told.items():
        if data == "made by edges":
            assert name.startswith("carillon.")
            continue
        needed, _, more = data.partition(";")
        assert re.findall(r"`(\w+)`", needed) == ours[name].schema["required"]
        named = set(re.findall(r"`(\w+)`", more))
        assert named <= {each for other in ours.values() for each in other.schema["properties"]}


def test_the_example_is_a_schema(tmp_path: Path) -> None:
    example = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "address.json").write_text(json.dumps({"required": ["city"]}))
    (tmp_path / "order.created.json").write_text(example)
    assert load(tmp_path).types["order.created"].validation == "enforce"


def test_every_validation_is_told_and_which_is_meant() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section(PAGE, "Types of your own"), re.MULTILINE)
    assert [name for name, _ in rows] == list(VALIDATIONS)
    assert [name for name, about in rows if "where nothing is said" in about] == [DEFAULT_VALIDATION]
