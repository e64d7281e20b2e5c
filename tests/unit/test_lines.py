"""A log as JSON Lines: what is written is read back equal, and what is no line is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.persister.batch import entry_of
from shared.conformance.event_log import assert_equal
from shared.conformance.samples import NOON
from shared.model.entry import Entry, Head, expired
from shared.model.errors import InvalidInput
from shared.model.event import Event
from shared.model.lines import StreamVersion, entry_line, head_line, parsed_line, version_line

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=4)
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
PLAIN = {"specversion": "1.0", "id": "1", "source": "/s", "type": "order.created"}


def an_entry(version: int | None = None, **attributes: object) -> Entry:
    return entry_of(Event.from_attributes({**PLAIN, **attributes}), 7, version, NOON)


@given(
    st.fixed_dictionaries(
        {"id": TEXT, "source": TEXT, "data": JSON},
        optional={
            "audience": st.sampled_from(["user:alice", 'user:"event": everyone', ""]),
            "final": st.sampled_from(["true", "false"]),
            "time": st.just("2026-01-31T12:00:00Z"),
            "region": TEXT,
        },
    )
)
def test_an_entry_is_read_back_equal(attributes: dict[str, object]) -> None:
    entry = an_entry(**attributes)
    line = entry_line(entry)
    assert b"\n" not in line
    read = parsed_line(line + b"\n", 1)
    assert isinstance(read, Entry)
    assert_equal([read], [entry])


@pytest.mark.parametrize(
    "event",
    [
        b'{ "specversion":"1.0" ,"id":"1","source":"/s","type":"order.created","data":[1.0, 1e3,"\\u00e9"] }',
        b'{"specversion":"1.0","id":"1","source":"/s","type":"order.created","data":{"a":1,"event":{}}}',
    ],
)
def test_an_event_stays_byte_for_byte(event: bytes) -> None:
    read = parsed_line(entry_line(replace(an_entry(), event=event)), 1)
    assert isinstance(read, Entry)
    assert read.event == event


def test_a_stream_keeps_version_and_end() -> None:
    entry = an_entry(3, subject="job/1", final="true")
    read = parsed_line(entry_line(entry), 1)
    assert isinstance(read, Entry)
    assert (read.subject, read.version, read.final) == ("job/1", 3, True)


def test_members_in_another_order_are_the_same_entry() -> None:
    members = json.loads(entry_line(an_entry(data={"a": 1})))
    turned = json.dumps(dict(reversed(members.items()))).encode()
    read = parsed_line(turned, 1)
    assert isinstance(read, Entry)
    assert (read.position, json.loads(read.event)) == (7, members["event"])


def test_head_and_versions_are_read_back() -> None:
    assert parsed_line(head_line(Head("log1", 12, 5)), 1) == Head("log1", 12, 5)
    assert parsed_line(version_line("job/1", 3), 2) == StreamVersion("job/1", 3)


LINE = json.loads(entry_line(an_entry(audience="user:alice")))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"nonsense", "line 3: body: it is not JSON"),
        (b"[" * 100_000, "line 3: body: it is not JSON"),
        (b"[]", "line 3: it is JSON, but no object"),
        (b'{"carillon":"log","format":2}', "format 2 is not known here"),
        (b'{"carillon":"log","format":1}', "'log_id' is missing"),
        (b'{"stream":"job/1"}', "'version' is missing"),
        (LINE | {"audience": ["bob"]}, "audience: 'bob' is not a tag"),
        (LINE | {"event": {"id": "1"}}, "specversion: it is missing"),
        (LINE | {"version": 3}, "version: an entry has one if"),
        (LINE | {"appended_at": "yesterday"}, "Invalid isoformat string"),
        (LINE | {"appended_at": "2026-01-31T12:00:00"}, "appended_at has no time zone"),
        (LINE | {"appended_at": "0001-01-01T00:00:00+14:00"}, "line 3: "),
        (LINE | {"position": None}, "line 3: position is no number of a log"),
        (LINE | {"position": 1.5}, "position is no number"),
        (LINE | {"position": -1}, "position is no number"),
        (LINE | {"position": math.inf}, "line 3: body: "),
        (LINE | {"event": LINE["event"] | {"data": math.nan}}, "line 3: body: "),
    ],
)
def test_what_is_no_line_is_named(line: bytes | dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parsed_line(line if isinstance(line, bytes) else json.dumps(line).encode(), 3)
    assert problem in str(refused.value)


def test_an_expired_entry_keeps_its_place_and_nothing_else() -> None:
    entry = an_entry(2, subject="job/1", audience="user:alice", data={"secret": 1}, region="eu", final="true")
    hollow = expired(entry)
    assert (hollow.position, hollow.version, hollow.identity, hollow.final) == (7, 2, ("/s", "1"), True)
    assert hollow.audience == ()
    assert json.loads(hollow.event) == {**PLAIN, "subject": "job/1", "final": "true", "expired": "true"}
    assert parsed_line(entry_line(hollow), 1) == hollow
