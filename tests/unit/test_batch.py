"""The batch as a table: what arrives, what the log holds, and what becomes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.persister.batch import Arrived, Known, Plan, parts_of, plan_batch, sort_arrivals
from shared.model.content import Content
from shared.model.event import Event
from shared.ports.broker import Arrival

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Known(last=0, contents={}, versions={})


def event(id: str, **attributes: Any) -> Event:
    return Event.from_attributes({"specversion": "1.0", "id": id, "source": "/test", "type": "test.done"} | attributes)


def plan(events: list[Event], known: Known = NOTHING) -> Plan:
    return plan_batch((Arrived(event, event.to_json()) for event in events), known, NOW)


def test_positions_follow_the_last_one_in_the_order_of_arrival() -> None:
    made = plan([event("a"), event("b"), event("c")], Known(41, {}, {}))
    assert [(entry.position, entry.id) for entry in made.entries] == [(42, "a"), (43, "b"), (44, "c")]


def test_duplicates_of_the_log_and_inside_the_batch_are_dropped_and_leave_no_gap() -> None:
    made = plan(
        [event("a"), event("b"), event("a"), event("c")], Known(7, {("/test", "b"): Content.of(event("b"))}, {})
    )
    assert [(entry.position, entry.id) for entry in made.entries] == [(8, "a"), (9, "c")]
    assert made.duplicates == [("/test", "b"), ("/test", "a")]


def test_the_same_id_from_another_source_is_another_event() -> None:
    made = plan([event("a"), event("a", source="/other")])
    assert len(made.entries) == 2


def test_versions_count_inside_a_subject() -> None:
    events = [event("a", subject="job/1"), event("b"), event("c", subject="job/2"), event("d", subject="job/1")]
    made = plan(events, Known(0, {}, {"job/2": 9}))
    assert [(entry.subject, entry.version) for entry in made.entries] == [
        ("job/1", 1), (None, None), ("job/2", 10), ("job/1", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stream_at", "expected", "accepted"),
    [(0, 0, True), (3, 3, True), (3, "3", True), (3, 2, False), (3, 4, False), (0, 1, False)],
)
def test_optimistic_append(stream_at: int, expected: int | str, accepted: bool) -> None:
    known = Known(5, {}, {"job/1": stream_at} if stream_at else {})
    made = plan([event("a", subject="job/1", expectedversion=expected), event("b")], known)
    assert [entry.id for entry in made.entries] == (["a", "b"] if accepted else ["b"])
    assert [letter.reason for letter in made.dead] == ([] if accepted else ["version-conflict"])
    assert [entry.position for entry in made.entries] == list(range(6, 6 + len(made.entries)))


def test_a_repeated_optimistic_append_is_a_duplicate_and_no_conflict() -> None:
    first = event("a", subject="job/1", expectedversion=0)
    made = plan([first, first], NOTHING)
    assert len(made.entries) == 1
    assert made.dead == []


@pytest.mark.parametrize("is_in_the_log", [True, False])
@pytest.mark.parametrize("other", [{"data": {"x": 2}}, {"type": "test.failed"}, {"audience": "user:bob"}])
def test_what_has_the_identity_of_another_event_is_a_dead_letter(is_in_the_log: bool, other: dict[str, Any]) -> None:
    """It was dropped as a duplicate once, and nobody ever learned that it was lost."""
    first, impostor = event("a", data={"x": 1}, audience="user:alice"), event("a", **({"data": {"x": 1}} | other))
    if is_in_the_log:
        made = plan([impostor, event("b")], Known(7, {("/test", "a"): Content.of(first)}, {}))
    else:
        made = plan([first, impostor, event("b")])
    assert [entry.id for entry in made.entries] == (["b"] if is_in_the_log else ["a", "b"])
    assert made.duplicates == []
    (letter,) = made.dead
    assert (letter.reason, Event.from_json(letter.body)) == ("identity-conflict", impostor)


def test_a_repeat_that_rules_would_send_to_fewer_is_a_duplicate() -> None:
    made = plan([event("a", audience="user:alice topic:x"), event("a", audience="user:alice", time=NOW.isoformat())])
    assert (len(made.entries), made.dead, made.duplicates) == (1, [], [("/test", "a")])


def test_a_conflict_names_both_versions_and_keeps_the_event_whole() -> None:
    refused = event("a", subject="job/1", expectedversion=2, audience="user:alice", data={"x": 1})
    (letter,) = plan([refused], Known(9, {}, {"job/1": 5})).dead
    assert "2 was expected" in letter.detail
    assert "is at 5" in letter.detail
    assert Event.from_json(letter.body) == refused


def test_garbage_is_told_from_events_and_its_neighbours_stay() -> None:
    good = event("a", audience="user:alice").to_json()
    bodies = [good, b"", b"\xff\x00", b"[]", b'{"specversion":"1.0"}', b"x" * 2000, good.replace(b'"a"', b'"b"')]
    found = sort_arrivals([Arrival(body, number) for number, body in enumerate(bodies)], max_bytes=1000)
    assert [one.event.id for one in found.events] == ["a", "b"]
    assert [letter.body for letter in found.dead] == bodies[1:6]
    assert [letter.reason for letter in found.dead] == ["invalid-event"] * 4 + ["too-large"]


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([3, 3, 4], [[3, 3, 4]]),
        ([3, 3, 5], [[3, 3], [5]]),
        ([20, 1, 20, 9, 1, 1], [[20], [1], [20], [9, 1], [1]]),
        ([0, 0, 11], [[0, 0], [11]]),
    ],
)
def test_large_arrivals_are_appended_in_parts(sizes: list[int], parts: list[list[int]]) -> None:
    """Five hundred events of 250 KiB in one transaction took longer than a backend may, each time anew."""
    arrivals = [Arrival(b"x" * size, receipt) for receipt, size in enumerate(sizes)]
    found = [[len(arrival.body) for arrival in part] for part in parts_of(arrivals, 10)]
    assert found == parts
    assert [arrival for part in parts_of(arrivals, 10) for arrival in part] == arrivals


@pytest.mark.parametrize(
    ("told", "kept"),
    [("a=1,b=2", "a=1,b=2"), ("x" * 2048, "x" * 2048), ("x" * 2049, None), ("", None), ("a=\n", None), ("a=ü", None)],
)
def test_a_trace_state_of_headers_is_kept_where_it_is_one(told: str, kept: str | None) -> None:
    """One of 100 KiB made every delivery of its event break the connection: no later event was dispatched."""
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    found = sort_arrivals([Arrival(event("a").to_json(), 1, False, context, told)], max_bytes=1000)
    assert [(one.event.traceparent, one.event.tracestate) for one in found.events] == [(context, kept)]


def test_the_entry_shows_everything_but_the_audience() -> None:
    sent = event(
        "a",
        audience="user:alice topic:x",
        data={"k": [1, None, "é"]},
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        ext="y",
    )
    (entry,) = plan([sent]).entries
    assert entry.audience == ("user:alice", "topic:x")
    shown = json.loads(entry.event)
    assert shown == {name: value for name, value in json.loads(sent.to_json()).items() if name != "audience"}
