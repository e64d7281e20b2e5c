"""The inbox as a plain list of what each user may see, against the fold and its readings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.persister.batch import entry_of
from shared.folds.inbox import INBOX, Marks, safe_link
from shared.folds.inbox_reading import (
    MAX_COUNTED,
    MAX_TOPICS,
    Placed,
    Viewer,
    Wanted,
    inbox_counts,
    inbox_page,
    placed,
    subscriptions,
)
from shared.model.entry import Entry
from shared.model.event import Event
from tests.harness.rows import Rows

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOW = "2026-01-31T12:00:00.000Z"
USERS = ("alice", "bob")
TOPICS = ("builds", "deploys")
EDGE = "/carillon/edge"


def an_entry(position: int, type_: str, audience: str, data: Any, source: str = "/s") -> Entry:
    attributes = {"specversion": "1.0", "id": str(position), "source": source, "type": type_, "data": data}
    event = Event.from_attributes(attributes | {"audience": audience})
    return entry_of(event, position, None, NOON + timedelta(seconds=position))


def viewer(user: str, may_see: Any = lambda tag: True, now: str = NOW) -> Viewer:
    return Viewer(user, may_see, now)


@dataclass
class Model:
    """Every user's inbox, item by item."""

    rows: Rows = field(default_factory=lambda: Rows(INBOX))
    waiting: list[Entry] = field(default_factory=list)
    last: int = 0
    audiences: dict[int, set[str]] = field(default_factory=dict)
    read: set[tuple[str, int]] = field(default_factory=set)
    seen: set[tuple[str, int]] = field(default_factory=set)
    archived: set[tuple[str, int]] = field(default_factory=set)
    since: dict[tuple[str, str], int] = field(default_factory=dict)
    muted: set[tuple[str, str]] = field(default_factory=set)

    def append(self, type_: str, audience: str, data: Any, source: str = "/s") -> None:
        self.last += 1
        self.waiting.append(an_entry(self.last, type_, audience, data, source))

    def catch_up(self) -> None:
        self.rows.fold(self.waiting)
        self.waiting = []

    def notify(self, audience: Sequence[str]) -> None:
        self.append("notification.sent", " ".join(audience), {"title": f"number {self.last + 1}"})
        self.audiences[self.last] = set(audience)

    def visible(self, user: str) -> list[int]:
        def is_theirs(position: int, tags: set[str]) -> bool:
            heard = [topic for topic in TOPICS if (user, topic) in self.since and (user, topic) not in self.muted]
            followed = any(f"topic:{topic}" in tags and self.since[user, topic] < position for topic in heard)
            return bool(tags & {f"user:{user}", "everyone"}) or followed

        return [position for position, tags in self.audiences.items() if is_theirs(position, tags)][::-1]

    def mark(self, user: str, mark: str, positions: Sequence[int], *, through: bool) -> None:
        """As an edge does: ids become spans by what the user sees at that moment."""
        self.catch_up()
        if through:
            spans: Any = [[1, max(positions, default=0)]]
            positions = [position for position in self.audiences if position <= max(positions, default=0)]
        else:
            adds = mark in ("seen", "read", "archived")
            spans = self.rows.read(placed(viewer(user), list(map(str, positions)), widen=adds)).spans
        if not spans or spans == [[1, 0]]:
            return
        self.append("carillon.inbox.marked", f"inbox:{user}", {"user": user, "mark": mark, "spans": spans}, EDGE)
        theirs = {(user, position) for position in positions if not through or position in self.visible(user)}
        match mark:
            case "seen":
                self.seen |= theirs
            case "read":
                self.read |= theirs
                self.seen |= theirs
            case "unread":
                self.read -= theirs
            case "archived":
                self.archived |= theirs
            case "unarchived":
                self.archived -= theirs

    def subscribe(self, user: str, topic: str, change: str) -> None:
        data = {"user": user, "topic": topic, "change": change}
        self.append("carillon.subscription.changed", f"inbox:{user}", data, EDGE)
        match change:
            case "followed":
                self.since.setdefault((user, topic), self.last)
            case "unfollowed":
                self.since.pop((user, topic), None)
            case "muted":
                self.muted.add((user, topic))
            case "unmuted":
                self.muted.discard((user, topic))

    def check(self, user: str) -> None:
        self.catch_up()
        there = [position for position in self.visible(user) if (user, position) not in self.archived]
        unread = [position for position in there if (user, position) not in self.read]
        unseen = [position for position in there if (user, position) not in self.seen]
        assert paged(self.rows, user, Wanted(limit=3)) == there
        assert paged(self.rows, user, Wanted(limit=2, unread=True)) == unread
        counts = self.rows.read(inbox_counts(viewer(user)))
        assert (counts.unread, counts.unseen) == (len(unread), len(unseen))


def paged(rows: Rows, user: str, wanted: Wanted) -> list[int]:
    """The positions of all pages, one after the other."""
    found: list[int] = []
    below = wanted.below
    while True:
        page = rows.read(inbox_page(viewer(user), Wanted(wanted.limit, below, wanted.unread, wanted.archived)))
        found += [int(item["id"]) for item in page.items]
        if page.next is None:
            return found
        below = page.next


AUDIENCES = st.lists(
    st.sampled_from(["user:alice", "user:bob", "everyone", "topic:builds", "topic:deploys", "user:carol"]),
    min_size=1, max_size=3, unique=True,
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("notify"), AUDIENCES),
        st.tuples(st.just("mark"), st.sampled_from(USERS), st.sampled_from(["seen", "read", "unread"]),
                  st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True), st.booleans()),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_any_history_is_what_each_user_did(steps: list[Any]) -> None:
    """Marks by id, which an edge widens, and up to a place, by two users with two devices each."""
    model = Model()
    for step in steps:
        if step[0] == "notify":
            model.notify(step[1])
        else:
            _, user, mark, choice, through = step
            there = model.visible(user)
            chosen = [there[number] for number in choice if number < len(there)]
            model.mark(user, mark, chosen, through=through)
    for user in USERS:
        model.check(user)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("notify"), AUDIENCES),
            st.tuples(
                st.just("archive"),
                st.sampled_from(USERS),
                st.sampled_from(["archived", "unarchived"]),
                st.integers(0, 9),
            ),
        ),
        max_size=20,
    )
)
def test_what_is_archived_is_gone_until_it_is_taken_back(steps: list[Any]) -> None:
    model = Model()
    for step in steps:
        if step[0] == "notify":
            model.notify(step[1])
        else:
            _, user, mark, number = step
            there = model.visible(user)
            model.mark(user, mark, there[number : number + 1], through=False)
    for user in USERS:
        model.check(user)
        archived = [at for at in model.visible(user) if (user, at) in model.archived]
        assert paged(model.rows, user, Wanted(limit=2, archived=True)) == archived


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("notify"), AUDIENCES),
            st.tuples(
                st.just("subscribe"),
                st.sampled_from(USERS),
                st.sampled_from(TOPICS),
                st.sampled_from(["followed", "unfollowed", "muted", "unmuted"]),
            ),
        ),
        max_size=25,
    )
)
def test_topics_are_the_users_from_when_they_follow(steps: list[Any]) -> None:
    model = Model()
    for kind, *what in steps:
        getattr(model, kind)(*what)
    for user in USERS:
        model.check(user)
        topics = model.rows.read(subscriptions(user))
        assert {each.topic for each in topics if each.followed_at} == {t for u, t in model.since if u == user}
        assert {each.topic for each in topics if each.muted} == {t for u, t in model.muted if u == user}


@settings(max_examples=40, deadline=None)
@given(STEPS, st.lists(st.integers(1, 5), min_size=30, max_size=30))
def test_batches_do_not_matter(steps: list[Any], sizes: list[int]) -> None:
    model = Model()
    for step in steps:
        if step[0] == "notify":
            model.notify(step[1])
        else:
            data = {"user": step[1], "mark": step[2], "spans": [[number + 1, number + 2] for number in step[3]]}
            model.append("carillon.inbox.marked", f"inbox:{step[1]}", data, EDGE)
    entries = model.waiting
    model.catch_up()
    cut = Rows(INBOX)
    while entries:
        size = sizes.pop()
        cut.fold(entries[:size])
        entries = entries[size:]
    assert cut.tables == model.rows.tables


def test_marks_of_one_kind_give_the_same_in_any_order() -> None:
    one = Marks().marked("read", [[1, 5]]).marked("read", [[9, 9]]).marked("seen", [[20, 30]])
    other = Marks().marked("seen", [[20, 30]]).marked("read", [[9, 9]]).marked("read", [[1, 5]])
    assert one == other


def test_reading_one_by_one_ends_in_one_span() -> None:
    """From the newest down, as people do: a hundred thousand items must not leave as many spans."""
    model = Model()
    for _ in range(20):
        model.notify(["user:alice"])
        model.notify(["user:bob"])
    for position in model.visible("alice"):
        model.mark("alice", "read", [position], through=False)
    model.catch_up()
    assert len(Marks.of(model.rows.tables["users"]["alice"]).read) == 1


def test_one_that_arrives_meanwhile_is_not_swallowed() -> None:
    model = Model()
    model.notify(["user:alice"])
    model.mark("alice", "read", [1], through=False)
    model.notify(["user:alice"])
    model.mark("alice", "read", [3], through=True)
    model.notify(["user:alice"])
    model.catch_up()
    assert model.rows.read(inbox_counts(viewer("alice"))).unread == 1


def test_one_for_everyone_is_one_row_however_many_look() -> None:
    model = Model()
    model.notify(["everyone"])
    model.notify(["topic:builds"])
    for user in USERS:
        model.subscribe(user, "builds", "followed")
    model.catch_up()
    assert [model.rows.read(inbox_counts(viewer(user))).unread for user in USERS] == [1, 1]
    assert (len(model.rows.tables["items"]), len(model.rows.tables["users"])) == (2, 0)


def test_counting_ends_where_nobody_reads_on() -> None:
    model = Model()
    for _ in range(150):
        model.notify(["user:alice"])
    model.mark("alice", "seen", model.visible("alice")[100:], through=False)
    model.catch_up()
    counts = model.rows.read(inbox_counts(viewer("alice")))
    assert (counts.unread, counts.unseen) == (MAX_COUNTED, 100)
    model.mark("alice", "read", model.visible("alice")[99:], through=False)
    model.catch_up()
    assert model.rows.read(inbox_counts(viewer("alice"))).unread == 99


def test_foreign_and_unknown_items_are_missing() -> None:
    model = Model()
    model.notify(["user:bob"])
    model.notify(["user:alice"])
    model.notify(["topic:builds"])
    model.catch_up()
    ids = ["1", "2", "3", "99", "x", "-1", "9" * 30]
    assert model.rows.read(placed(viewer("alice"), ids, widen=False)) == Placed(((2, 2),), [i for i in ids if i != "2"])


def test_who_lost_a_topic_finds_nothing_of_it() -> None:
    model = Model()
    model.subscribe("alice", "builds", "followed")
    model.notify(["topic:builds"])
    model.catch_up()
    assert model.rows.read(inbox_counts(viewer("alice"))).unread == 1
    assert model.rows.read(inbox_counts(viewer("alice", may_see=lambda tag: False))).unread == 0


@pytest.mark.parametrize(("until", "count"), [(None, 0), ("2026-01-31T12:00:01Z", 0), ("2026-01-31T11:00:00Z", 1)])
def test_a_topic_is_muted_until_its_time(until: str | None, count: int) -> None:
    model = Model()
    model.subscribe("alice", "builds", "followed")
    data = {"user": "alice", "topic": "builds", "change": "muted", "until": until}
    model.append("carillon.subscription.changed", "inbox:alice", data, EDGE)
    model.notify(["topic:builds"])
    model.catch_up()
    assert model.rows.read(inbox_counts(viewer("alice"))).unread == count


@pytest.mark.parametrize(
    "data",
    [None, "text", {}, {"title": ""}, {"title": "  "}, {"title": 7}, {"text": "x"}],
)
def test_what_has_no_title_is_no_item(data: Any) -> None:
    rows = Rows(INBOX)
    rows.fold([an_entry(1, "notification.sent", "user:alice", data)])
    assert rows.tables["items"] == {}


def test_hostile_fields_of_an_item_are_left_out() -> None:
    rows = Rows(INBOX)
    data = {"title": "T" * 1000, "body": 5, "link": "javascript:alert(1)", "level": "loud", "topic": [], "about": "x"}
    rows.fold([an_entry(1, "notification.sent", "user:alice", data)])
    (item,) = rows.read(inbox_page(viewer("alice"), Wanted())).items
    assert {name: item[name] for name in ("body", "link", "level", "topic", "about")} == {
        "body": None, "link": None, "level": "info", "topic": None, "about": None,
    }  # fmt: skip
    assert len(item["title"]) == 500


@pytest.mark.parametrize(
    ("data", "audience", "source"),
    [
        ({"user": "alice", "mark": "read", "spans": [[1, 1]]}, "inbox:bob", EDGE),
        ({"user": "alice", "mark": "read", "spans": [[1, 1]]}, "inbox:alice", "/somebody"),
        ({"user": "alice", "mark": "burnt", "spans": [[1, 1]]}, "inbox:alice", EDGE),
        ({"user": "alice", "mark": "read", "spans": [[1]]}, "inbox:alice", EDGE),
        ({"user": "alice", "mark": "read"}, "inbox:alice", EDGE),
        ({"user": "alice", "topic": "builds", "change": "followed"}, "inbox:alice", EDGE),
        (["read"], "inbox:alice", EDGE),
    ],
)
def test_marks_that_no_edge_made_change_nothing(data: Any, audience: str, source: str) -> None:
    rows = Rows(INBOX)
    rows.fold([an_entry(1, "carillon.inbox.marked", audience, data, source)])
    assert rows.tables["users"] == {}


@pytest.mark.parametrize(
    ("link", "is_safe"),
    [
        ("https://example.com/a?b#c", True), ("/orders/7", True), ("#top", False), ("http://x", True),
        ("javascript:alert(1)", False), ("//evil.example", False), ("/\\evil.example", False),
        (" https://x", False), ("", False), (7, False), ("https://" + "x" * 3000, False),
    ],
)  # fmt: skip
def test_links(link: object, is_safe: bool) -> None:
    assert (safe_link(link) == link) is is_safe


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(level="error"), ["3"]),
        (Wanted(topic="builds"), ["4"]),
        (Wanted(since="2026-01-31T12:00:03.000Z"), ["4", "3"]),
        (Wanted(below=3), ["2", "1"]),
        (Wanted(limit=1, level="info"), ["4"]),
    ],
)
def test_filters(wanted: Wanted, ids: list[str]) -> None:
    model = Model()
    for data in ({"title": "a"}, {"title": "b"}, {"title": "c", "level": "error"}, {"title": "d", "topic": "builds"}):
        model.append("notification.sent", "user:alice", data)
    model.catch_up()
    assert [item["id"] for item in model.rows.read(inbox_page(viewer("alice"), wanted)).items] == ids


def test_a_filter_that_finds_nothing_ends_somewhere_and_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.folds.inbox_reading.MAX_SCANNED", 10)
    model = Model()
    model.append("notification.sent", "user:alice", {"title": "rare", "level": "error"})
    for _ in range(30):
        model.notify(["user:alice"])
    model.catch_up()
    below, found, pages = Wanted().below, [], 0
    while below:
        page = model.rows.read(inbox_page(viewer("alice"), Wanted(limit=5, level="error", below=below)))
        found += [item["title"] for item in page.items]
        below, pages = page.next or 0, pages + 1
    assert (found, pages > 1) == (["rare"], True)


def test_one_that_says_it_is_old_hides_none_below_it() -> None:
    """Items lie in the order of the log: a list `since` once ended at the first that told an older time."""
    rows = Rows(INBOX)
    events = [an_entry(at, "notification.sent", "user:alice", {"title": f"number {at}"}) for at in (1, 2, 3)]
    old = events[2].event.replace(b'"id"', b'"time":"2001-01-01T00:00:00Z","id"')
    rows.fold([*events[:2], replace(events[2], event=old)])
    page = rows.read(inbox_page(viewer("alice"), Wanted(since="2026-01-31T12:00:02.000Z")))
    assert ([item["id"] for item in page.items], page.next) == (["2"], None)


def test_who_follows_a_hundred_topics_finds_every_unread_item() -> None:
    """Each topic once cost a question for each run of unread items, and the list ended with the questions."""
    model = Model()
    for number in range(MAX_TOPICS):
        data = {"user": "alice", "topic": f"t{number}", "change": "followed"}
        model.append("carillon.subscription.changed", "inbox:alice", data, EDGE)
    for number in range(20):
        model.append("notification.sent", f"topic:t{number}", {"title": "unread"})
        model.append("notification.sent", "user:alice", {"title": "read"})
        model.append("carillon.inbox.marked", "inbox:alice",
                     {"user": "alice", "mark": "read", "spans": [[model.last, model.last]]}, EDGE)  # fmt: skip
    model.catch_up()
    assert len(paged(model.rows, "alice", Wanted(limit=50, unread=True))) == 20
    assert model.rows.read(inbox_counts(viewer("alice"))).unread == 20


def test_a_list_whose_questions_are_used_up_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.folds.inbox_reading.MAX_QUESTIONS", 3)
    model = Model()
    for _ in range(10):
        model.notify(["user:alice"])
        model.notify(["user:alice"])
        model.mark("alice", "read", [model.last], through=False)
    model.catch_up()
    unread = [at for at in model.visible("alice") if ("alice", at) not in model.read]
    assert paged(model.rows, "alice", Wanted(limit=50, unread=True)) == unread


def test_of_what_an_item_is_about_only_the_event_is_kept() -> None:
    rows = Rows(INBOX)
    about = {"source": "/s", "id": "1", "type": 7, "more": "x" * 100_000}
    rows.fold([an_entry(1, "notification.sent", "user:alice", {"title": "t", "about": about})])
    (item,) = rows.read(inbox_page(viewer("alice"), Wanted())).items
    assert item["about"] == {"source": "/s", "id": "1"}


def test_the_row_is_json() -> None:
    model = Model()
    model.notify(["user:alice"])
    model.mark("alice", "read", [1], through=False)
    model.catch_up()
    for table in model.rows.tables.values():
        for row in table.values():
            assert json.loads(json.dumps(row.body)) == row.body
