"""Read models: what is folded out of the log for somebody to look at, as rows of tables with declared indexes.

A reading is a pure generator: it yields queries, is given their answers, and returns what it makes
of them. Whoever drives it answers every query as of one instant, so a reading sees no change under way:

    def page(tags: Sequence[str]) -> Reading[tuple[Row | None, Sequence[Row]]]:
        mine = yield from get("users", ["alice"])
        items = yield from rows(Range("items", ("audience", "position"), {"audience": tags}, limit=50))
        return mine.get("alice"), items
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any, TypeVar

from shared.model.errors import ModelMissing

Value = str | int
"""Strings up to a few KB without NUL, in the order of their code points, or integers of 64 bits."""

Field = Value | Sequence[Value] | None
"""A row is found under each of several values, and under none of them where it is None or empty."""

# What storages hold as an integer; a forged cursor may name more.
MAX_INTEGER = 2**63 - 1

Index = tuple[str, ...]
"""Names of fields: equal in all but the last, in the order of the last.

At most one of them holds several values, and never the last, which is an integer in all rows or a
string in all.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What a fold keeps under a key."""

    key: str
    body: Mapping[str, Any]
    """A JSON object."""
    fields: Mapping[str, Field] = field(default_factory=dict)
    """What its table's indexes find it by; a row that lacks a field is in none of that field's indexes.

    None is left out, and several values are a tuple, so that a row equals what was stored of it.
    """

    def __post_init__(self) -> None:
        kept = {name: _kept(value) for name, value in self.fields.items() if value is not None}
        object.__setattr__(self, "fields", kept)

    def places(self, index: Index) -> Sequence[tuple[Value, ...]]:
        """The combinations of values that the index finds this row by."""
        return list(product(*(_values(self.fields.get(name)) for name in index)))


@dataclass(frozen=True, slots=True)
class Table:
    """A name for rows, and how they are found other than by their keys."""

    name: str
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """What a projection folds into. Another shape, or another fold, is another version."""

    name: str
    """Lower-case letters, digits and `_`."""
    version: int
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of this name. Raises `ModelMissing`."""
        for table in self.tables:
            if table.name == name:
                return table
        raise ModelMissing(f"version {self.version} of {self.name!r} has no table {name!r}")

    def index_of(self, wanted: Range) -> int:
        """Which of all declared indexes the range asks for. Raises `ModelMissing`."""
        for number, (table, index) in enumerate(self.indexes()):
            if (table, index) == (wanted.table, wanted.index):
                return number
        raise ModelMissing(f"version {self.version} of {self.name!r} has no index {wanted.table}{wanted.index}")

    def indexes(self) -> Sequence[tuple[str, Index]]:
        """Every declared index with the name of its table, in order."""
        return [(table.name, index) for table in self.tables for index in table.indexes]

    def described(self) -> str:
        """As JSON."""
        tables = {table.name: table.indexes for table in self.tables}
        return json.dumps({"name": self.name, "version": self.version, "tables": tables})


@lru_cache(maxsize=256)
def described_model(text: str) -> Model:
    """The inverse of `Model.described`; each reading asks for it."""
    told = json.loads(text)
    tables = (Table(name, tuple(map(tuple, indexes))) for name, indexes in told["tables"].items())
    return Model(told["name"], told["version"], tuple(tables))


Changes = Mapping[str, Mapping[str, Row | None]]
"""By table and key: the row as it is now, or None where it is gone."""


@dataclass(frozen=True, slots=True)
class Get:
    """The rows of these keys, as a mapping from key to row; what is not there is left out."""

    table: str
    keys: Collection[str]


@dataclass(frozen=True, slots=True)
class Range:
    """Rows in the order of an index: each once, however many of its values match.

    Args:
        equal: for every field of the index but the last, the value or the values that match.
        above, below: bounds of the last field, which are not in the range themselves. Whoever pages
            goes on from the last value seen, so this field should be one that no two rows share.
    """

    table: str
    index: Index
    equal: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict)
    above: Value | None = None
    below: Value | None = None
    descending: bool = False
    limit: int = 100

    def __post_init__(self) -> None:
        for name in ("above", "below"):
            value = getattr(self, name)
            if isinstance(value, int) and abs(value) > MAX_INTEGER:
                object.__setattr__(self, name, MAX_INTEGER if value > 0 else -MAX_INTEGER)

    def alternatives(self) -> list[tuple[Value, ...]]:
        """Each combination of the values that match, in the order of the index's fields."""
        return list(product(*map(self.values, self.index[:-1])))

    def values(self, name: str) -> Collection[Value]:
        """The values of this field that match, each once."""
        return _values(self.equal[name])


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows the range holds, each once; counting ends at the range's limit."""

    range: Range


@dataclass(frozen=True, slots=True)
class Scan:
    """Rows of a table in the order of their keys, above the key `after`."""

    table: str
    after: str = ""
    limit: int = 1000


Query = Get | Range | Count | Scan

Result = TypeVar("Result")
Reading = Generator[Query, Any, Result]


def get(table: str, keys: Collection[str]) -> Reading[Mapping[str, Row]]:
    """The rows of these keys by key."""
    return (yield Get(table, keys)) if keys else {}


def rows(wanted: Range | Scan) -> Reading[Sequence[Row]]:
    """The rows of the range or scan, in order."""
    return list((yield wanted))


def count(wanted: Range, at_most: int) -> Reading[int]:
    """How many rows the range holds; `at_most` where there are more."""
    return int((yield Count(replace(wanted, limit=at_most))))


def drive(reading: Reading[Result], answer: Callable[[Query], Any]) -> Result:
    """Runs a reading to its end, asking `answer` what it wants to know."""
    try:
        query = next(reading)
        while True:
            query = reading.send(answer(query))
    except StopIteration as ended:
        result: Result = ended.value
        return result


def _kept(value: Value | Sequence[Value]) -> Value | tuple[Value, ...]:
    return value if isinstance(value, str | int) else tuple(value)


def _values(field: Field) -> Collection[Value]:
    if field is None:
        return ()
    return (field,) if isinstance(field, str | int) else dict.fromkeys(field)
