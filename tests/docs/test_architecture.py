"""docs/architecture.md, and every page, against the tree; its table of bounds against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path

import pytest

from shared.model.event import RESERVED_TYPES
from tests.docs.pages import ROOT, all_pages, section, text_of

PAGE = "docs/architecture.md"
CODE = ("services", "shared")
SCRIPTS = "services/edge/browser/src"
# Words of a protocol or a process, not how much or how long.
NO_BOUNDS = re.compile(r"_.*|EXIT_.*|DEFAULT_.*|DEMO_.*|DUPLICATE_KEY")
UNITS = {"KiB": 1024, "MiB": 1024**2}


@pytest.mark.parametrize("page", all_pages())
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"`((?:services|shared|infra|tests|docs)/[\w/.-]+)`", text_of(page))
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_layout_names_every_package() -> None:
    layout = section(text_of(PAGE), "Layout and import rules")
    for folder in CODE:
        packages = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
        missing = [name for name in packages if f"  {name}/" not in layout]
        assert not missing


def number(node: ast.expr) -> float | None:
    """The value of a constant expression of numbers; None for anything else."""
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.BinOp(left, ast.Mult(), right) if (a := number(left)) is not None and (b := number(right)) is not None:
            return a * b
        case _:
            return None


def bounds_in(path: Path) -> Iterator[tuple[str, float]]:
    """The numeric constants of a module that bound something."""
    for statement in ast.parse(path.read_text()).body:
        match statement:
            case ast.Assign([ast.Name(name)], value) if (
                name.isupper() and not NO_BOUNDS.fullmatch(name) and (found := number(value)) is not None
            ):
                yield name, found


def bounds_in_script(path: Path) -> Iterator[tuple[str, float]]:
    """The same of a TypeScript module."""
    for name, product in re.findall(r"^(?:export )?const ([A-Z_]+) = ([\d_. *]+);$", path.read_text(), re.MULTILINE):
        yield name, prod(map(float, product.split("*")))


def bounds_of_the_code() -> dict[tuple[str, str], float]:
    files = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    return {
        (str(path.relative_to(ROOT)), name): value
        for path in files
        if "conformance" not in path.parts
        for name, value in bounds_in(path)
    } | {
        (str(path.relative_to(ROOT)), name): value
        for path in (ROOT / SCRIPTS).glob("*.ts")
        for name, value in bounds_in_script(path)
    }


def bounds_of_the_page() -> dict[tuple[str, str], float]:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+)(?: (\w+))? \| `([\w/.-]+)` \| .+ \|$", text_of(PAGE), re.MULTILINE)
    return {(file, name): float(value) * UNITS.get(unit, 1) for name, value, unit, file in rows}


def test_the_table_of_bounds_is_the_codes() -> None:
    page, code = bounds_of_the_page(), bounds_of_the_code()
    changed = {key: code[key] for key in code.keys() & page.keys() if code[key] != page[key]}
    assert not changed, f"{PAGE} has other values than these of the code"
    assert not code.keys() - page.keys(), f"add a row to the table of bounds in {PAGE}, with its why"
    assert not page.keys() - code.keys(), f"{PAGE} tells of bounds that the code does not have"


def test_reserved_types_are_told() -> None:
    about = section(text_of("docs/reference/events.md"), "Reserved types")
    assert set(re.findall(r"^(`.+`)$", about, re.MULTILINE)[0].replace("`", "").split()) == RESERVED_TYPES
