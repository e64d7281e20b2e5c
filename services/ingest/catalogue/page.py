"""The catalogue as a page for people: rendered here, without scripts, whatever schemas hold. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from services.ingest.catalogue.catalogue import Catalogue
from services.ingest.catalogue.event_type import EventType, Schema, Validation
from services.ingest.catalogue.references import led_to

FOLDER = Path(__file__).parent / "page"
# Of one type; the schema itself has them all.
MAX_EXAMPLES = 3
MAX_SHOWN_CHARS = 4000

_MEANING: dict[Validation, str] = {
    "off": "not checked",
    "warn": "what does not fit is logged",
    "enforce": "what does not fit is refused",
}
_ENVIRONMENT = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the data, as the page shows it."""

    name: str
    kind: str
    required: bool
    description: str


def page(catalogue: Catalogue) -> str:
    """HTML; everything that comes from schemas is escaped."""
    types = list(catalogue.types.values())
    return _ENVIRONMENT.get_template("catalogue.html").render(
        groups=[
            ("Types of this platform", [each for each in types if not each.is_ours]),
            ("Carillon's own", [each for each in types if each.is_ours]),
        ],
        meaning=_MEANING,
        members=lambda each: list(members(each, catalogue.definitions)),
        examples=_examples,
    )


def members(event_type: EventType, definitions: dict[str, Schema]) -> Iterator[Member]:
    """The members that the schema names at its top, with what it refers to looked up once."""
    properties, required = event_type.schema.get("properties"), event_type.schema.get("required", [])
    for name, said in (properties if isinstance(properties, dict) else {}).items():
        schema = _resolved(said if isinstance(said, dict) else {}, f"{event_type.name}.json", definitions)
        yield Member(str(name), _kind(schema), name in required, str(schema.get("description", "")))


def _resolved(schema: Schema, path: str, definitions: dict[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    if not isinstance(reference, str) or "#" in reference:
        return schema
    return {**definitions.get(led_to(reference, path)[0], {}), **schema}


def _kind(schema: Schema) -> str:
    """What it is, in a few words."""
    if "const" in schema:
        return _json(schema["const"])
    if isinstance(schema.get("enum"), list):
        return " or ".join(map(_json, schema["enum"]))[:MAX_SHOWN_CHARS]
    kinds = schema.get("type", "anything")
    kind = " or ".join(map(str, kinds)) if isinstance(kinds, list) else str(kinds)
    form = schema.get("format")
    return f"{kind} ({form})" if isinstance(form, str) else kind


def _examples(event_type: EventType) -> list[str]:
    given = event_type.schema.get("examples")
    return [_json(each, indent=2) for each in given[:MAX_EXAMPLES]] if isinstance(given, list) else []


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)[:MAX_SHOWN_CHARS]
