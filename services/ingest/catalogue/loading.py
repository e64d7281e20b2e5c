"""Folders of JSON Schemas -> a catalogue, or the first thing that is wrong in them, with its file.

`<type>.json` says what the data of events of that type looks like; files in folders below are for `$ref`.
Nothing is ever fetched: a reference leads to a file of the folder, or is an error.

Source: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from jsonschema_rs import Draft202012, Draft202012Validator, RegexOptions, Registry, ValidationError, meta

from services.ingest.catalogue.catalogue import Catalogue
from services.ingest.catalogue.event_type import VALIDATIONS, EventType, Schema, Validation
from services.ingest.catalogue.references import led_to, with_references
from shared.model.errors import InvalidInput
from shared.model.event import MAX_SHORT_BYTES

SHIPPED = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
VALIDATION = "x-carillon-validation"
# Of a type whose schema does not say: nobody is locked out by a file that was put there.
DEFAULT_VALIDATION: Validation = "warn"

MAX_SCHEMA_BYTES = 256 * 1024
# Types and what they refer to; each is compiled at the start.
MAX_SCHEMAS = 2000
# Of a schema, in an error.
MAX_SAID_CHARS = 200

_PATH = re.compile(r"[A-Za-z0-9._/-]+\.json")
# Under which references inside a folder are resolved; nobody can fetch from it.
_BASE = "json-schema:///"


class InvalidSchema(InvalidInput):
    """A schema of the catalogue cannot be used; `field` is its file, with the line where that is known."""

    reason = "invalid-schema"


def load(folder: Path | None) -> Catalogue:
    """Our own types, and those of the folder; where both know a type, the folder's counts. Raises `InvalidSchema`."""
    types, definitions = _loaded(SHIPPED, is_ours=True)
    if folder is not None:
        more_types, more_definitions = _loaded(folder, is_ours=False)
        if taken := definitions.keys() & more_definitions.keys():
            fix = "give the folder another name"
            raise InvalidSchema(str(folder / min(taken)), "Carillon has a definition of that name itself", fix)
        types, definitions = types | more_types, definitions | more_definitions
    return Catalogue(types.values(), definitions)


def files_of(folder: Path) -> list[Path]:
    """All files of the folder and those below it, in order. Raises `InvalidSchema`."""
    try:
        files = sorted(path for path in folder.rglob("*.json") if not _is_hidden(path.relative_to(folder)))
        is_folder = folder.is_dir()
    except OSError as failed:
        raise InvalidSchema(str(folder), f"it cannot be read: {failed.strerror}", "name a folder") from None
    if not is_folder:
        raise InvalidSchema(str(folder), "it is no folder", "name a folder of <type>.json files")
    if len(files) > MAX_SCHEMAS:
        raise InvalidSchema(str(folder), f"{len(files)} schemas", f"keep at most {MAX_SCHEMAS}")
    return files


def _is_hidden(path: Path) -> bool:
    """Also what is in a hidden folder: there Kubernetes keeps the files that its links lead to."""
    return any(part.startswith(".") for part in path.parts)


def _loaded(folder: Path, *, is_ours: bool) -> tuple[dict[str, EventType], dict[str, Schema]]:
    """(the types by name, the definitions by their paths inside the folder)."""
    schemas = {path.relative_to(folder).as_posix(): _schema(path) for path in files_of(folder)}
    for path, schema in schemas.items():
        _check(folder / path, path, schema, schemas)
    resources = [(f"{_BASE}{path}", _without_id(schema)) for path, schema in schemas.items()]
    try:
        registry = Registry(resources, draft=Draft202012, retriever=_never)
    except ValueError as refused:
        raise InvalidSchema(str(folder), _said(refused), "write JSON Schemas of 2020-12") from None
    types = [
        EventType(
            path.removesuffix(".json"), schema, _validation(schema), _validator(folder, path, schema, registry), is_ours
        )
        for path, schema in schemas.items()
        if "/" not in path
    ]
    definitions = {path: schema for path, schema in schemas.items() if "/" in path}
    return {each.name: each for each in types}, definitions


def _schema(path: Path) -> Schema:
    try:
        content = _read(path)
        schema = json.loads(content.decode(), parse_constant=_no_json)
    except OSError as failed:
        raise InvalidSchema(str(path), f"it cannot be read: {failed.strerror}", "make it readable") from None
    except json.JSONDecodeError as refused:
        raise InvalidSchema(f"{path}:{refused.lineno}", f"it is not JSON: {refused.msg}", "write JSON") from None
    except (ValueError, RecursionError) as refused:
        raise InvalidSchema(str(path), f"it is not JSON: {str(refused)[:100]}", "write JSON in UTF-8") from None
    if not isinstance(schema, dict):
        raise InvalidSchema(str(path), "it is no JSON object", "write a JSON Schema")
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise InvalidSchema(str(path), "it has another dialect than 2020-12", f"write $schema: {DIALECT}")
    return schema


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_SCHEMA_BYTES + 1)
    if len(content) > MAX_SCHEMA_BYTES:
        raise InvalidSchema(str(path), f"it is over {MAX_SCHEMA_BYTES} bytes", "split it, and refer to its parts")
    return content


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _never(uri: str) -> NoReturn:
    raise LookupError("nothing is fetched")


def _check(file: Path, path: str, schema: Schema, schemas: Collection[str]) -> None:
    """Raises `InvalidSchema` for what is no lawful schema, refers to what is not there, or is no name of a type."""
    try:
        meta.validate(schema)
    except ValidationError as refused:
        raise InvalidSchema(str(file), _said(refused), "write a JSON Schema of 2020-12") from None

    def known(reference: str) -> str:
        if led_to(reference, path)[0] not in schemas:
            fix = "write the path of a file of the catalogue; nothing is fetched"
            raise InvalidSchema(str(file), f"$ref {reference[:MAX_SAID_CHARS]!r} leads to no file", fix)
        return reference

    with_references(schema, known)
    if not _PATH.fullmatch(path) or len(path) > MAX_SHORT_BYTES:
        fix = f"use at most {MAX_SHORT_BYTES} letters, digits, dots and hyphens, such as order.created.json"
        raise InvalidSchema(str(file), "its name is no type that a catalogue may hold", fix)
    if (said := schema.get(VALIDATION, DEFAULT_VALIDATION)) not in VALIDATIONS:
        problem = f"{VALIDATION} is {str(said)[:MAX_SAID_CHARS]!r}"
        raise InvalidSchema(str(file), problem, f"use one of {', '.join(VALIDATIONS)}")


def _without_id(schema: Schema) -> Schema:
    """References are paths in the folder, whatever address a schema was published under."""
    return {name: part for name, part in schema.items() if name != "$id"}


def _validator(folder: Path, path: str, schema: Schema, registry: Registry) -> Draft202012Validator:
    """The mask keeps values of the data out of messages; regular expressions take linear time, whatever the data."""
    try:
        return Draft202012Validator(
            _without_id(schema), registry=registry, base_uri=f"{_BASE}{path}", offline=True, mask="it",
            pattern_options=RegexOptions(),
        )  # fmt: skip
    except ValueError as refused:
        raise InvalidSchema(str(folder / path), _said(refused), "write a JSON Schema of 2020-12") from None


def _said(refused: ValueError) -> str:
    """What the library says of a schema, and where."""
    where = "/".join(map(str, getattr(refused, "instance_path", ())))
    message = str(getattr(refused, "message", refused))[:MAX_SAID_CHARS]
    return f"at {where}: {message}" if where else message


def _validation(schema: Schema) -> Validation:
    said = schema.get(VALIDATION, DEFAULT_VALIDATION)
    return next(each for each in VALIDATIONS if each == said)
