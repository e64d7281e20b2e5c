"""The checker finds each kind of violation: a checker that cannot fail proves nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.model.entry import Entry
from tests.harness.checker import Confirmed, Delivery, Reading, check_promises

LOG_ID = "log1"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def attributes_of(number: int, **more: Any) -> dict[str, Any]:
    audience = "user:alice" if number % 2 else "user:bob everyone"
    sent = {"specversion": "1.0", "id": f"e{number}", "source": "/s", "type": "t", "subject": "job/1"}
    return sent | {"audience": audience, "data": {"number": number}} | more


def entry_of(position: int, sent: dict[str, Any]) -> Entry:
    public = {name: value for name, value in sent.items() if name != "audience"} | {"traceparent": TRACEPARENT}
    return Entry(
        position=position,
        version=position,
        source=sent["source"],
        id=sent["id"],
        type=sent["type"],
        subject=sent["subject"],
        audience=tuple(sent["audience"].split()),
        final=False,
        traceparent=TRACEPARENT,
        tracestate=None,
        appended_at=NOW,
        event=json.dumps(public).encode(),
    )


def delivery_of(entry: Entry) -> Delivery:
    return Delivery(f"{LOG_ID}.{entry.position}", entry.type, json.loads(entry.event))


@dataclass
class Run:
    """Six events, alice who read all of hers, bob who began after position 2."""

    confirmed: list[Confirmed] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    alice: Reading = field(default_factory=lambda: Reading("alice", frozenset({"user:alice"}), f"{LOG_ID}.0"))
    bob: Reading = field(default_factory=lambda: Reading("bob", frozenset({"user:bob", "everyone"}), f"{LOG_ID}.2"))

    def check(self) -> None:
        check_promises(LOG_ID, self.entries, self.confirmed, [self.alice, self.bob])


@pytest.fixture
def run() -> Run:
    sent = [attributes_of(number) for number in range(1, 7)]
    entries = [entry_of(position, attributes) for position, attributes in enumerate(sent, start=1)]
    whole = Run([Confirmed(attributes, TRACE_ID) for attributes in sent], entries)
    whole.alice.deliveries = [delivery_of(entry) for entry in entries if entry.position % 2]
    whole.bob.deliveries = [delivery_of(entries[3]), delivery_of(entries[5])]
    return whole


def changed(run: Run, at: int, **fields: Any) -> None:
    run.entries[at - 1] = dataclasses.replace(run.entries[at - 1], **fields)


def with_event(run: Run, position: int, **attributes: Any) -> None:
    event = json.loads(run.entries[position - 1].event) | attributes
    changed(run, position, event=json.dumps(event).encode())


def test_a_run_that_keeps_every_promise_passes(run: Run) -> None:
    run.check()


def test_who_left_early_is_owed_nothing_after_that(run: Run) -> None:
    run.alice.end = f"{LOG_ID}.4"
    del run.alice.deliveries[2]
    run.check()


def test_who_asked_for_some_types_is_owed_only_those(run: Run) -> None:
    changed(run, 4, type="other")
    run.confirmed.clear()
    run.bob.wants = "t".__eq__
    with pytest.raises(AssertionError, match="bob: did not receive exactly its slice"):
        run.check()
    del run.bob.deliveries[0]
    run.check()


def lose_a_confirmed_publish(run: Run) -> None:
    run.confirmed.append(Confirmed(attributes_of(7)))


def leave_a_gap(run: Run) -> None:
    changed(run, 6, position=7)


def repeat_a_position(run: Run) -> None:
    changed(run, 6, position=5)


def store_twice(run: Run) -> None:
    changed(run, 5, source="/s", id="e3")


def skip_a_version(run: Run) -> None:
    changed(run, 6, version=7)


def number_without_a_stream(run: Run) -> None:
    changed(run, 6, subject=None)


def change_data(run: Run) -> None:
    with_event(run, 1, data={"number": "1"})


def add_an_attribute(run: Run) -> None:
    with_event(run, 1, extra="x")


def change_the_audience(run: Run) -> None:
    changed(run, 1, audience=("user:mallory",))


def lose_the_trace(run: Run) -> None:
    changed(run, 1, traceparent=None)


def begin_another_trace(run: Run) -> None:
    other = TRACEPARENT.replace("0af7", "0af8")
    with_event(run, 2, traceparent=other)
    changed(run, 2, traceparent=other)


def miss_one(run: Run) -> None:
    del run.alice.deliveries[1]


def miss_the_last(run: Run) -> None:
    del run.bob.deliveries[-1]


def receive_twice(run: Run) -> None:
    run.alice.deliveries.insert(1, run.alice.deliveries[0])


def receive_out_of_order(run: Run) -> None:
    run.alice.deliveries.reverse()


def receive_what_is_for_others(run: Run) -> None:
    run.alice.deliveries.insert(1, delivery_of(run.entries[1]))


def receive_from_before_the_start(run: Run) -> None:
    run.bob.deliveries.insert(0, delivery_of(run.entries[1]))


def receive_what_is_not_in_the_log(run: Run) -> None:
    ghost = dataclasses.replace(run.entries[0], position=9)
    run.alice.deliveries.append(delivery_of(ghost))


def receive_other_data(run: Run) -> None:
    first = run.alice.deliveries[0]
    run.alice.deliveries[0] = Delivery(first.cursor, first.type, first.data | {"data": None})


def receive_another_type(run: Run) -> None:
    first = run.alice.deliveries[0]
    run.alice.deliveries[0] = Delivery(first.cursor, "message", first.data)


def receive_a_foreign_cursor(run: Run) -> None:
    first = run.alice.deliveries[0]
    run.alice.deliveries[0] = Delivery("log2.1", first.type, first.data)


def be_reset(run: Run) -> None:
    run.alice.resets.append("other-log")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lose_a_confirmed_publish, "('/s', 'e7') was answered 202 and is not in the log"),
        (leave_a_gap, "positions are not 1..N, 1 differ: #6: expected 6, found 7"),
        (repeat_a_position, "positions are not 1..N, 1 differ: #6: expected 6, found 5"),
        (store_twice, "('/s', 'e3') is in it more than once, at positions [3, 5]"),
        (skip_a_version, "versions of 'job/1' are not 1..N, 1 differ: #6: expected 6, found 7"),
        (number_without_a_stream, "position 6 has version 6 without a subject"),
        (change_data, "'data' was sent as {'number': 1} and stored as {'number': '1'}"),
        (add_an_attribute, "attributes ['extra'] were added"),
        (change_the_audience, "the audience became ('user:mallory',)"),
        (lose_the_trace, "the traces of entry and event differ"),
        (begin_another_trace, f"it was sent in trace {TRACE_ID}"),
        (miss_one, "alice: 1 of 3 missing, first at positions [3]"),
        (miss_the_last, "bob: 1 of 2 missing, first at positions [6]"),
        (receive_twice, "alice: position 1 came after 1"),
        (receive_out_of_order, "alice: position 3 came after 5"),
        (receive_what_is_for_others, "alice: received position 2, whose audience is ('user:bob', 'everyone')"),
        (receive_from_before_the_start, "bob: did not receive exactly its slice of the log"),
        (receive_what_is_not_in_the_log, "alice: received position 9, which the log does not have"),
        (receive_other_data, "alice: position 1 came as"),
        (receive_another_type, "alice: position 1 came as an event 'message', not 't'"),
        (receive_a_foreign_cursor, "alice: cursors of another log: ['log2.1']"),
        (be_reset, "alice: was reset: other-log"),
    ],
)
def test_a_violation_is_found_and_named(run: Run, spoil: Callable[[Run], None], named: str) -> None:
    spoil(run)
    with pytest.raises(AssertionError) as found:
        run.check()
    assert named in str(found.value)


def test_all_that_is_wrong_is_told_at_once(run: Run) -> None:
    lose_a_confirmed_publish(run)
    miss_one(run)
    with pytest.raises(AssertionError) as found:
        run.check()
    assert "answered 202" in str(found.value)
    assert "alice: 1 of 3 missing" in str(found.value)


def test_thousands_of_differences_are_cut_to_the_first(run: Run) -> None:
    run.confirmed += [Confirmed(attributes_of(number)) for number in range(10, 2010)]
    with pytest.raises(AssertionError) as found:
        run.check()
    assert "… and 1995 more like it" in str(found.value)
    assert len(str(found.value)) < 2000
