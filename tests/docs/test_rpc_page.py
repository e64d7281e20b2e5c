"""docs/reference/rpc.md against the methods, the errors and the headers."""

from __future__ import annotations

import ast
import re

from services.ingest import plain
from services.ingest.idempotency import HEADER
from services.ingest.rpc.faults import MEANINGS, Code
from services.ingest.rpc.methods import METHODS, Described
from shared.ports.broker import RPC_AT_ONCE
from tests.docs.pages import section, text_of

PAGE = "docs/reference/rpc.md"
OF_EVERY_METHOD = {"source", "idempotency_key"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading."""
    lines = re.findall(r"^\| (.+) \|$", section(text_of(PAGE), heading), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines if not set(line) <= set("|- ")]


def test_every_code_stands_there_with_its_meaning() -> None:
    told = {int(cells[0]): tuple(cells[1:]) for cells in rows("Errors") if cells[0] != "code"}
    assert told == {int(code): (code.message, MEANINGS[code]) for code in Code}


def test_every_method_stands_there_with_its_parameters() -> None:
    told = {cells[0].strip("`"): cells[1] for cells in rows("Methods") if cells[0].startswith("`")}
    assert told.keys() == METHODS.keys()
    for name, model in METHODS.items():
        if issubclass(model, Described):
            continue
        required = {field for field, about in model.model_fields.items() if about.is_required()}
        assert set(re.findall(r"`(\w+)`", told[name].split(",")[0])) == required, name
        if "the same" not in told[name]:
            assert set(re.findall(r"`(\w+)`", told[name])) == model.model_fields.keys() - OF_EVERY_METHOD, name


def test_every_header_of_plain_publish_stands_there() -> None:
    told = {cells[0].strip("`").lower() for cells in rows("Plain publish") if cells[0].startswith("`")}
    assert told == {*plain.NAMES, HEADER.lower()}


def test_bounds_are_those_of_the_code() -> None:
    assert f"{RPC_AT_ONCE} in each ingest" in text_of(PAGE)


def test_the_program_is_one() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", text_of(PAGE), re.MULTILINE | re.DOTALL)
    ast.parse(program)
