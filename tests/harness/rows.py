"""Rows in a dictionary, for folds and readings: each query answered in the plainest way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from shared.folds.projection import Projection
from shared.model.entry import Entry
from shared.model.read_model import Count, Get, Query, Range, Reading, Row, Scan, Value, drive

Result = TypeVar("Result")


class Rows:
    """What a projection has folded so far."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.tables: dict[str, dict[str, Row]] = {table.name: {} for table in projection.model.tables}

    def fold(self, entries: Sequence[Entry]) -> None:
        """Takes the next entries of the log, as one batch."""
        for table, rows in self.read(self._projection.fold(entries)).items():
            for key, row in rows.items():
                if row is None:
                    self.tables[table].pop(key, None)
                else:
                    self.tables[table][key] = row

    def read(self, reading: Reading[Result]) -> Result:
        """What the reading makes of the rows."""
        return drive(reading, self._answer)

    def _answer(self, query: Query) -> Any:
        match query:
            case Get(table, keys):
                return {key: self.tables[table][key] for key in keys if key in self.tables[table]}
            case Range():
                return self._range(query)
            case Count(wanted):
                return len(self._range(wanted))
            case Scan(table, after, limit):
                return [row for key, row in sorted(self.tables[table].items()) if key > after][:limit]

    def _range(self, wanted: Range) -> list[Row]:
        self._projection.model.index_of(wanted)
        alternatives = set(wanted.alternatives())
        found: dict[str, tuple[Value, str, Row]] = {}
        for key, row in self.tables[wanted.table].items():
            for *equal, last in row.places(wanted.index):
                is_above = wanted.above is None or last > wanted.above  # type: ignore[operator]  # of one type in an index
                is_below = wanted.below is None or last < wanted.below  # type: ignore[operator]
                if tuple(equal) in alternatives and is_above and is_below:
                    found[key] = (last, key, row)
        ordered = sorted(found.values(), key=lambda each: each[:2], reverse=wanted.descending)
        return [row for _, _, row in ordered][: wanted.limit]
