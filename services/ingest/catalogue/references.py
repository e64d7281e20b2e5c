"""`$ref` between the files of a catalogue: relative paths to other files, or `#/…` inside its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from posixpath import dirname, normpath
from typing import Any

from services.ingest.catalogue.event_type import Schema

# Their values are data, and a `$ref` in them is no reference.
_LITERAL = ("const", "default", "enum", "examples")
# Their members are names of the data, and no keywords.
_NAMED = ("$defs", "dependentSchemas", "patternProperties", "properties")


def led_to(reference: str, path: str) -> tuple[str, str]:
    """(the file that a reference of the file `path` leads to, the place inside it).

    Paths are those inside the folder; what leads out of it, or to another host, is the path of no file.
    """
    file, _, fragment = reference.partition("#")
    if not file:
        return path, fragment
    return (file if ":" in file else normpath(f"{dirname(path)}/{file}").lstrip("/")), fragment


def with_references(schema: Schema, changed: Callable[[str], str]) -> Schema:
    """The schema with each reference changed."""
    moved: Schema = _walked("", schema, changed)
    return moved


def _walked(name: str, value: Any, changed: Callable[[str], str]) -> Any:
    if name == "$ref" and isinstance(value, str):
        return changed(value)
    if isinstance(value, Mapping) and name not in _LITERAL:
        is_named = name in _NAMED
        return {inner: _walked("" if is_named else inner, part, changed) for inner, part in value.items()}
    if isinstance(value, list) and name not in _LITERAL:
        return [_walked("", part, changed) for part in value]
    return value
