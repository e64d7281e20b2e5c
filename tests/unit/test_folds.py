"""No event that may be published can stop a fold, or what reads what was folded: others wait behind it.

A step whose status was a list once stopped every stream of the platform.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.console.steps import links_of, spans_of, steps_of
from services.persister.batch import entry_of
from shared.folds import PROJECTIONS, streams
from shared.folds.inbox import CHANGES, EDGE_SOURCE, MARKED, MARKS, SUBSCRIPTION
from shared.folds.inbox_reading import Viewer, Wanted, inbox_counts, inbox_page, subscriptions
from shared.folds.projection import Projection
from shared.folds.streams import ANYBODY, STATUSES
from shared.model.event import Event
from shared.model.notification import TYPE
from tests.harness.rows import Rows

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MEMBERS = (
    "status", "progress", "steps", "nodes", "a", "started_at", "ended_at", "duration_ms", "needs",
    "title", "body", "link", "level", "topic", "about", "user", "mark", "spans", "change", "until",
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5),
    st.sampled_from([*STATUSES, *MARKS, *CHANGES, "skipped", "2026-01-31T12:00:00Z", "alice"]),
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=12,
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["job.progressed", TYPE, MARKED, SUBSCRIPTION]),
        st.sampled_from(["user:alice", "everyone", "inbox:alice", "inbox:['alice']", "inbox:None", "inbox:1"]),
        st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=6) | ANYTHING,
    ),
    max_size=6,
)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: str(projection.model.name))
@given(events=EVENTS)
@example(events=[("job.progressed", "user:alice", {"steps": {"a": {"status": []}}})])
@example(events=[("job.progressed", "user:alice", {"steps": {"a": {"status": {}}}}),
                 ("job.progressed", "user:alice", {"steps": {"a": {"status": "running"}}})])  # fmt: skip
@example(events=[(MARKED, "inbox:['alice']", {"user": ["alice"], "mark": "read", "spans": []})])
@example(events=[(SUBSCRIPTION, "inbox:alice", {"user": "alice", "topic": "a", "change": "muted", "until": 7})])
def test_whatever_is_published_is_folded_and_read(projection: Projection, events: list[tuple[str, str, Any]]) -> None:
    rows = Rows(projection)
    for position, (type_, audience, data) in enumerate(events, 1):
        attributes = {"specversion": "1.0", "id": str(position), "source": EDGE_SOURCE, "type": type_}
        event = Event.from_attributes(attributes | {"subject": "job/1", "audience": audience, "data": data})
        rows.fold([entry_of(event, position, position, NOON)])
    if projection is streams.STREAMS:
        for stream in rows.read(streams.listing([ANYBODY], "", STATUSES, None, 10)).streams:
            assert stream.document()["subject"] == "job/1"
            steps = steps_of(stream.state)
            assert len(spans_of(steps, NOON)) == len(steps)
            assert all(first < len(steps) > second for first, second in links_of(steps))
    else:
        viewer = Viewer("alice", lambda tag: True, "2026-01-31T12:00:00.000Z")
        items = rows.read(inbox_page(viewer, Wanted(limit=10))).items
        assert rows.read(inbox_counts(viewer)).unread <= len(items)
        assert len(rows.read(subscriptions("alice"))) <= len(events)
