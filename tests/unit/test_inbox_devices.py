"""Devices of one user act at the same time, each on what it has seen: in the end all of them show one inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from services.persister.batch import entry_of
from shared.folds.inbox import EDGE_SOURCE, INBOX, MARKED
from shared.folds.inbox_reading import Viewer, Wanted, inbox_counts, inbox_page, placed
from shared.model.entry import Entry
from shared.model.event import Event
from tests.harness.rows import Rows

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ALICE = Viewer("alice", lambda tag: True, "2026-01-31T12:00:00.000Z")
MARKS = ["seen", "read", "unread", "archived", "unarchived"]
EDGES = 2


@dataclass
class Edge:
    """A read model that has come to some place in the log: what the devices at it see."""

    rows: Rows = field(default_factory=lambda: Rows(INBOX))
    position: int = 0

    def fold(self, log: Sequence[Entry], count: int) -> None:
        entries = log[self.position : self.position + count]
        self.rows.fold(entries)
        self.position += len(entries)

    def items(self) -> dict[int, tuple[bool, bool, bool]]:
        """(seen, read, archived) by position."""
        both = [self.rows.read(inbox_page(ALICE, Wanted(100, archived=archived))) for archived in (False, True)]
        shown = [item for page in both for item in page.items]
        return {int(item["id"]): (item["seen"], item["read"], item["archived"]) for item in shown}


@dataclass(frozen=True)
class Act:
    """A mark that a device has made, and what it meant by it."""

    mark: str
    spans: Sequence[Sequence[int]]
    meant: frozenset[int]
    """Positions of items."""
    through: int
    """All items up to here are meant."""

    def means(self, position: int) -> bool:
        return position in self.meant or position <= self.through


class Devices(RuleBasedStateMachine):
    """The log, edges that follow it, and marks that are on their way to it in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Entry] = []
        self.edges = [Edge() for _ in range(EDGES)]
        self.under_way: list[Act] = []
        self.expected: dict[int, tuple[bool, bool, bool]] = {}

    def append(self, type_: str, audience: str, data: Any, source: str) -> None:
        position = len(self.log) + 1
        attributes = {"specversion": "1.0", "id": str(position), "source": source, "type": type_, "data": data}
        self.log.append(entry_of(Event.from_attributes(attributes | {"audience": audience}), position, None, NOON))

    @rule(audience=st.sampled_from(["user:alice", "user:alice", "everyone", "user:bob"]))
    def a_notification_comes(self, audience: str) -> None:
        self.append("notification.sent", audience, {"title": "news"}, "/s")
        if audience != "user:bob":
            self.expected[len(self.log)] = (False, False, False)

    @rule(edge=st.integers(0, EDGES - 1), count=st.integers(1, 8))
    def an_edge_follows(self, edge: int, count: int) -> None:
        self.edges[edge].fold(self.log, count)

    @rule(edge=st.integers(0, EDGES - 1), mark=st.sampled_from(MARKS), chosen=st.sets(st.integers(0, 9), min_size=1))
    def a_device_marks_some(self, edge: int, mark: str, chosen: set[int]) -> None:
        shown = sorted(self.edges[edge].items())
        meant = frozenset(shown[number] for number in chosen if number < len(shown))
        reading = placed(ALICE, list(map(str, meant)), widen=mark in ("seen", "read", "archived"))
        found = self.edges[edge].rows.read(reading)
        assert not found.missing, "what a device shows is there to be marked"
        if meant:
            self.under_way.append(Act(mark, found.spans, meant, 0))

    @rule(edge=st.integers(0, EDGES - 1), mark=st.sampled_from(MARKS))
    def a_device_marks_all_that_it_knows(self, edge: int, mark: str) -> None:
        if through := self.edges[edge].position:
            self.under_way.append(Act(mark, [(1, through)], frozenset(), through))

    @precondition(lambda self: self.under_way)
    @rule(number=st.integers(0, 20))
    def a_mark_comes_to_the_log(self, number: int) -> None:
        act = self.under_way.pop(number % len(self.under_way))
        data = {"user": "alice", "mark": act.mark, "spans": [list(span) for span in act.spans]}
        self.append(MARKED, "inbox:alice", data, EDGE_SOURCE)
        self.expected = {at: after(act.mark, *was) if act.means(at) else was for at, was in self.expected.items()}

    def teardown(self) -> None:
        while self.under_way:
            self.a_mark_comes_to_the_log(0)
        for edge in self.edges:
            edge.fold(self.log, len(self.log))
            assert edge.items() == self.expected
            left = [(seen, read) for seen, read, archived in self.expected.values() if not archived]
            counts = edge.rows.read(inbox_counts(ALICE))
            assert counts.unseen == sum(not seen for seen, _ in left)
            assert counts.unread == sum(not read for _, read in left)


def after(mark: str, seen: bool, read: bool, archived: bool) -> tuple[bool, bool, bool]:
    """What an item is once it was marked, said as plainly as possible."""
    match mark:
        case "seen":
            return True, read, archived
        case "read":
            return True, True, archived
        case "unread":
            return seen, False, archived
        case "archived":
            return seen, read, True
        case _:
            return seen, read, False


def test_devices_converge() -> None:
    run_state_machine_as_test(Devices, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
