"""What a stream's events make of its state, its times and its end."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from shared.conformance.samples import an_entry
from shared.folds import streams
from shared.folds.audiences import MAX_AUDIENCES, MAX_TAGS, Audiences, Sight
from shared.folds.moments import between_ms, parsed
from shared.folds.streams import MAX_LISTED_TAGS, MAX_STATE_BYTES, Stream, fold, prefixes
from shared.model.entry import Entry, expired
from shared.model.read_model import Changes, Get, Row, drive

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(
    version: int, data: Any = None, *, at_s: float | None = None, final: bool = False, tags: Sequence[str] = ("user:a",)
) -> Entry:
    """Version n of `job/1` at position 10n; appended at n seconds past noon, and happened `at_s` after it."""
    attributes: dict[str, Any] = {"specversion": "1.0"}
    if data is not None:
        attributes["data"] = data
    if at_s is not None:
        attributes["time"] = (NOON + timedelta(seconds=at_s)).isoformat()
    return replace(
        an_entry(version * 10, *tags, subject="job/1", version=version),
        appended_at=NOON + timedelta(seconds=version),
        event=json.dumps(attributes).encode(),
        final=final,
    )


def folded(*entries: Entry) -> Stream:
    stream = Stream("job/1")
    for entry in entries:
        stream.add(entry)
    return stream


def second(n: float) -> str:
    return f"2026-01-31T12:00:{int(n):02}.{round(n % 1 * 1000):03}Z"


def test_a_whole_life() -> None:
    stream = folded(
        event(1, {"status": "pending", "name": "build"}),
        event(2, {"status": "running", "progress": 10}),
        event(3, {"progress": 60, "message": "half way"}),
        event(4, {"status": "completed", "message": None, "result": {"url": "/x"}}),
    )
    assert stream.document() == {
        "subject": "job/1",
        "state": {"status": "completed", "name": "build", "progress": 60, "result": {"url": "/x"}},
        "version": 4,
        "status": "completed",
        "progress": 60,
        "started_at": second(1),
        "updated_at": second(4),
        "ended_at": second(4),
        "duration_ms": 3000,
        "final": True,
        "truncated": False,
    }
    assert (stream.began_at, stream.ended_at) == (10, 40)
    assert "state" not in stream.summary()


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (event(2, {"status": "failed"}), "failed"),
        (event(2, {"status": "passed"}), "passed"),
        (event(2, {"status": "error"}), "error"),
        (event(2, {"status": "cancelled"}), "cancelled"),
        (event(2, {"status": "failed"}, final=True), "failed"),
        (event(2, final=True), "completed"),
        (event(2, {"status": "shipped"}, final=True), "completed"),
        (event(2, [1, 2], final=True), "completed"),
    ],
)
def test_what_ends_a_stream(last: Entry, status: str) -> None:
    stream = folded(event(1, {"status": "running"}), last)
    assert (stream.is_ended, stream.status, stream.ended) == (True, status, second(2))


@pytest.mark.parametrize(
    "data", [{"status": "Completed"}, {"status": 7}, {"status": None}, {"state": "failed"}, "done"]
)
def test_what_does_not_end_it(data: Any) -> None:
    assert not folded(event(1, data)).is_ended


def test_what_comes_after_the_end_counts_and_changes_nothing() -> None:
    ended = folded(event(1, {"status": "completed", "n": 1}))
    late = folded(event(1, {"status": "completed", "n": 1}), event(2, {"status": "running", "n": 2}))
    assert late.version == 2
    assert late.document() == {**ended.document(), "version": 2}


def test_data_that_is_no_object_leaves_the_state() -> None:
    stream = folded(event(1, {"n": 1}), event(2, "text"), event(3, [1]), event(4), event(5, 5))
    assert (stream.state, stream.version, stream.updated) == ({"n": 1}, 5, second(5))


def test_an_event_tells_when_it_happened() -> None:
    stream = folded(event(1, {"status": "running"}, at_s=-30), event(2, {"status": "passed"}, at_s=12.5))
    assert (stream.started, stream.ended) == ("2026-01-31T11:59:30.000Z", second(12.5))
    assert stream.summary()["duration_ms"] == 42_500


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t13:00:00.25+01:00", NOON + timedelta(milliseconds=250)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("0001-01-01T00:00:00+14:00", None),
        ("2026-01-31T12:00:00", None),
        ("yesterday", None),
        (7, None),
    ],
)
def test_times(text: object, shown: datetime | None) -> None:
    assert parsed(text) == shown


def test_a_duration_is_never_negative() -> None:
    assert between_ms("2026-01-31T12:00:01Z", "2026-01-31T12:00:00Z") == 0


@pytest.mark.parametrize(("told", "shown"), [(0, 0), (55.5, 55.5), (-3, 0), (250, 100), (True, None), ("9", None)])
def test_progress_is_a_number_up_to_100(told: Any, shown: float | None) -> None:
    assert folded(event(1, {"progress": told})).progress == shown


class TestSteps:
    def test_times_are_filled_in(self) -> None:
        stream = folded(
            event(1, {"steps": {"a": {"status": "pending"}, "b": {"status": "pending", "needs": ["a"]}}}),
            event(2, {"steps": {"a": {"status": "running"}}}),
            event(5, {"steps": {"a": {"status": "passed"}, "b": {"status": "running"}}}),
            event(6, {"steps": {"b": {"status": "failed", "error": "boom"}}}),
        )
        assert stream.state["steps"] == {
            "a": {"status": "passed", "started_at": second(2), "ended_at": second(5), "duration_ms": 3000},
            "b": {
                "status": "failed",
                "needs": ["a"],
                "started_at": second(5),
                "ended_at": second(6),
                "duration_ms": 1000,
                "error": "boom",
            },
        }

    def test_what_the_event_says_counts(self) -> None:
        own = {"status": "passed", "started_at": second(1), "ended_at": second(3), "duration_ms": 1}
        assert folded(event(9, {"nodes": {"n": own}})).state["nodes"] == {"n": own}

    def test_a_retry_begins_anew(self) -> None:
        stream = folded(
            event(1, {"steps": {"a": {"status": "running", "attempt": 1}}}),
            event(2, {"steps": {"a": {"status": "failed"}}}),
            event(4, {"steps": {"a": {"status": "running", "attempt": 2}}}),
        )
        assert stream.state["steps"]["a"] == {"status": "running", "attempt": 2, "started_at": second(4)}
        stream.add(event(5, {"steps": {"a": {"status": "passed"}}}))
        assert stream.state["steps"]["a"]["duration_ms"] == 1000

    def test_saying_that_it_runs_again_is_no_retry(self) -> None:
        stream = folded(
            event(1, {"steps": {"a": {"status": "running"}}}), event(2, {"steps": {"a": {"status": "running", "n": 2}}})
        )
        assert stream.state["steps"]["a"] == {"status": "running", "started_at": second(1), "n": 2}

    def test_a_step_that_never_ran_has_no_duration(self) -> None:
        stream = folded(event(3, {"steps": {"a": {"status": "skipped"}}}))
        assert stream.state["steps"]["a"] == {"status": "skipped", "ended_at": second(3)}

    @pytest.mark.parametrize("steps", [[{"status": "running"}], "all", 3, {"a": "running"}, {"a": None}, {"a": {}}])
    def test_what_is_no_step_is_left_alone(self, steps: Any) -> None:
        expected = {"a": {}} if steps == {"a": {}} else {} if steps == {"a": None} else steps
        assert folded(event(1, {"steps": steps})).state["steps"] == expected


class TestBounds:
    def test_a_patch_too_large_leaves_the_state_and_takes_the_status(self) -> None:
        big = "x" * (MAX_STATE_BYTES // 2)
        stream = folded(event(1, {"a": big}), event(2, {"b": big, "status": "running", "progress": 5}))
        assert (set(stream.state), stream.is_truncated) == ({"a", "status", "progress"}, True)
        stream.add(event(3, {"a": None, "b": big}))
        assert set(stream.state) == {"b", "status", "progress"}, "what makes room is taken"
        stream.add(event(4, {"c": big, "status": "failed"}))
        assert stream.status == "failed"
        assert stream.is_ended

    def test_many_small_changes_of_a_small_state_are_not_too_much(self) -> None:
        stream = folded(*(event(n, {"progress": n % 100, "message": "m" * 1000}) for n in range(1, 1000)))
        assert (stream.progress, stream.is_truncated) == (99, False)

    @given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.text(max_size=200)), max_size=20))
    def test_the_state_is_never_larger(self, patches: list[dict[str, str]]) -> None:
        with pytest.MonkeyPatch.context() as smaller:
            smaller.setattr(streams, "MAX_STATE_BYTES", 500)
            stream = folded(*(event(n, patch) for n, patch in enumerate(patches, 1)))
        assert len(to_json(stream.state)) <= min(stream.size_bytes, 500)

    def test_what_is_kept_of_a_patch_too_large_is_small(self) -> None:
        stream = folded(event(1, {"status": "x" * MAX_STATE_BYTES, "progress": ["y" * MAX_STATE_BYTES]}))
        assert (stream.state, stream.is_truncated) == ({}, True)

    def test_an_audience_of_thousands_is_listed_for_some_and_seen_by_all(self) -> None:
        tags = [f"user:{n}" for n in range(2000)]
        stream = folded(event(1, {"n": 1}, tags=tags))
        assert len(stream.tags) == MAX_LISTED_TAGS
        assert {stream.audiences.sight([tag]) for tag in tags} == {Sight.WHOLE}

    def test_ten_thousand_steps_take_seconds_and_not_minutes(self) -> None:
        began = time.process_time()
        stream = folded(*(event(n, {"steps": {f"s{n % 2000}": {"status": "running"}}}) for n in range(1, 10_001)))
        assert stream.version == 10_000
        assert time.process_time() - began < 10


class TestAudience:
    def test_events_without_audience_are_no_part_of_it(self) -> None:
        stream = folded(event(1, {"secret": 1}, tags=()), event(2, {"n": 1}), event(3, final=True, tags=()))
        assert (stream.version, stream.state, stream.is_ended, stream.began_at) == (2, {"n": 1}, False, 20)

    def test_expired_events_are_no_part_of_it(self) -> None:
        stream = folded(expired(event(1, {"n": 1})), event(2, {"m": 1}))
        assert stream.state == {"m": 1}

    @given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1).map(sorted).map(tuple), min_size=1, max_size=8))
    def test_sight_is_what_the_events_say(self, audiences: list[tuple[str, ...]]) -> None:
        known = Audiences()
        for tags in audiences:
            known = known.with_audience(tags)
        for session in ({"a"}, {"a", "b"}, {"c", "d", "e"}, {"f", "x"}, {"x"}, set("abcdef")):
            seen = [not session.isdisjoint(tags) for tags in audiences]
            sight = known.sight(session)
            assert (sight is Sight.WHOLE) == all(seen), "whoever sees each event sees the whole, and nobody else"
            assert any(seen) <= (sight is not Sight.NOTHING), "whoever sees one is not sent away"

    def test_too_many_audiences_are_nobodys_whole(self) -> None:
        known = Audiences()
        for n in range(MAX_AUDIENCES + 5):
            known = known.with_audience((f"user:{n}", "everyone"))
        assert {known.sight(["everyone"]), known.sight(["user:1"]), known.sight(["x"])} == {Sight.PART}

    def test_long_audiences_are_kept_up_to_a_bound(self) -> None:
        """Sixteen of 2,000 tags each made a row of megabytes, read and written with each event of the stream."""
        first, *others = ([f"user:{n}-{m}" for m in range(1500)] for n in range(3))
        known = Audiences().with_audience(first)
        assert known.sight(first[:1]) is Sight.WHOLE
        for one in others:
            known = known.with_audience(one)
        assert sum(map(len, known.narrowest)) <= MAX_TAGS
        assert {known.sight(first[:1]), known.sight(others[1][:1]), known.sight(["x"])} == {Sight.PART}


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("job", [""]),
        ("job/1", ["", "job/"]),
        ("wf/7/step/2", ["", "wf/", "wf/7/"]),
        ("/a", ["", "/"]),
        ("a//b", ["", "a/", "a//"]),
    ],
)
def test_prefixes(subject: str, expected: list[str]) -> None:
    assert prefixes(subject) == expected


def kept(changes: Changes) -> dict[str, Row]:
    return {key: row for key, row in changes["streams"].items() if row is not None}


def rows_of(entries: Sequence[Entry], cuts: Sequence[int]) -> dict[str, Row]:
    """The rows after folding the entries in batches that end at these cuts."""
    rows: dict[str, Row] = {}

    def answer(query: Any) -> dict[str, Row]:
        assert isinstance(query, Get)
        return {key: rows[key] for key in query.keys if key in rows}

    for begin, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        rows.update(kept(drive(fold(entries[begin:end]), answer)))
    return rows


@given(st.data())
def test_how_the_log_is_cut_makes_no_difference(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    versions: dict[str, int] = {}
    entries: list[Entry] = []
    for position in range(1, count + 1):
        subject = data.draw(st.sampled_from(["job/1", "job/2", "x"]))
        versions[subject] = versions.get(subject, 0) + 1
        step = {"a": {"status": data.draw(st.sampled_from(["running", "failed"]))}}
        patch = data.draw(st.sampled_from([{"steps": step}, {"progress": position}, {"status": "passed"}, {"n": None}]))
        tags = data.draw(st.sampled_from([("user:a",), ("user:a", "user:b"), ()]))
        entry = event(versions[subject], patch, tags=tags)
        entries.append(replace(entry, subject=subject, position=position))
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
    stored = {key: Row(key, json.loads(to_json(row.body)), row.fields) for key, row in rows_of(entries, cuts).items()}
    assert stored == {
        key: Row(key, json.loads(to_json(row.body)), row.fields) for key, row in rows_of(entries, []).items()
    }
