"""The inbox: notifications, what each user has done with them, and the topics that a user follows.

One model, so that items, marks and subscriptions are read as of one position. A notification is one row,
however many see it. What a user has seen, read and archived are spans of positions: marking is adding or
taking away a span, which gives the same whatever the order in which two devices' marks of one kind arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json

from shared.folds.moments import moment_of, shown
from shared.folds.projection import Projection
from shared.folds.spans import Spans, at_most, with_span, without_span
from shared.model.entry import Entry
from shared.model.notification import LEVELS, is_link
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.read_model import Changes, Model, Reading, Row, Table, get
from shared.model.replay import is_replay
from shared.model.tags import INBOX as INBOX_KIND

MARKED = "carillon.inbox.marked"
SUBSCRIPTION = "carillon.subscription.changed"
EDGE_SOURCE = "/carillon/edge"

MARKS = ("seen", "read", "unread", "archived", "unarchived")
CHANGES = ("followed", "unfollowed", "muted", "unmuted")

# What a list shows of a text; the event has all of it.
MAX_TITLE_CHARS = 500
MAX_BODY_CHARS = 4000
MAX_LINK_CHARS = 2048
# Of the event that a notification is about: what a page needs to find it.
ABOUT = ("source", "id", "type", "subject")
# Runs of items that a user has left between others; with more, the oldest count as done with.
MAX_SPANS = 2000

ITEMS, USERS, TOPICS = "items", "users", "topics"
BY_TAG = ("tag", "position")
BY_USER = ("user", "topic")
MODEL = Model("inbox", 2, (Table(ITEMS, (BY_TAG,)), Table(USERS), Table(TOPICS, (BY_USER,))))


@dataclass(frozen=True, slots=True)
class Marks:
    """What a user has done with the items at these positions."""

    seen: Spans = ()
    read: Spans = ()
    archived: Spans = ()

    @classmethod
    def of(cls, row: Row | None) -> Marks:
        """As a row keeps them; none without a row."""
        kept = row.body if row is not None else {}
        return cls(*(tuple(map(tuple, kept.get(name, ()))) for name in cls.__slots__))

    def row(self, user: str) -> Row:
        """The inverse of `of`."""
        return Row(user, {name: list(map(list, getattr(self, name))) for name in self.__slots__})

    def marked(self, mark: str, spans: Iterable[Sequence[int]]) -> Marks:
        """With one more mark on these positions. What is read has been seen."""
        marks = self
        for first, last in spans:
            marks = marks._marked(mark, first, last)
        return Marks(at_most(marks.seen, MAX_SPANS), at_most(marks.read, MAX_SPANS), at_most(marks.archived, MAX_SPANS))

    def _marked(self, mark: str, first: int, last: int) -> Marks:
        match mark:
            case "seen":
                return replace(self, seen=with_span(self.seen, first, last))
            case "read":
                seen, read = with_span(self.seen, first, last), with_span(self.read, first, last)
                return replace(self, seen=seen, read=read)
            case "unread":
                return replace(self, read=without_span(self.read, first, last))
            case "archived":
                return replace(self, archived=with_span(self.archived, first, last))
            case "unarchived":
                return replace(self, archived=without_span(self.archived, first, last))
            case _:
                return self


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a user has said of one topic."""

    topic: str
    followed_at: str | None = None
    """RFC 3339; None for a topic that is only muted."""
    since: int = 0
    """The position of the following: older notifications of the topic are not the user's."""
    muted: bool = False
    muted_until: str | None = None
    """RFC 3339, UTC; None for ever."""

    @classmethod
    def of(cls, row: Row) -> Subscription:
        return cls(**row.body)

    def row(self, user: str) -> Row | None:
        """None where nothing is left to keep."""
        if self.followed_at is None and not self.muted:
            return None
        body = {name: getattr(self, name) for name in self.__slots__}
        return Row(topic_key(user, self.topic), body, {"user": user, "topic": self.topic})

    def changed(self, change: str, until: str | None, at: str, position: int) -> Subscription:
        """After one more change. Following again changes nothing."""
        match change:
            case "followed" if self.followed_at is None:
                return replace(self, followed_at=at, since=position)
            case "unfollowed":
                return replace(self, followed_at=None, since=0)
            case "muted":
                return replace(self, muted=True, muted_until=until)
            case "unmuted":
                return replace(self, muted=False, muted_until=None)
            case _:
                return self

    def is_muted(self, now: str) -> bool:
        """Whether it is silent at this moment, RFC 3339 in UTC."""
        return self.muted and (self.muted_until is None or now < self.muted_until)


@dataclass(frozen=True, slots=True)
class Topics:
    """What one user says of topics, as of a position."""

    position: int
    by_name: Mapping[str, Subscription]

    def after(self, entries: Iterable[Entry], through: int) -> Topics:
        """With the user's entries of the log up to `through`, of which some may be marks."""
        by_name = dict(self.by_name)
        for entry in entries:
            if entry.type == SUBSCRIPTION and (data := _told(entry)) is not None:
                before = by_name.get(data["topic"], Subscription(data["topic"]))
                by_name[data["topic"]] = _after(before, entry, data)
        return Topics(through, by_name)


def item_key(position: int) -> str:
    """Orders as positions do."""
    return f"{position:019}"


def topic_key(user: str, topic: str) -> str:
    """Neither holds white space, as both are names in tags."""
    return f"{user} {topic}"


def fold(entries: Sequence[Entry]) -> Reading[Changes]:
    """Items, marks and subscriptions of these entries."""
    said = [(entry, told) for entry in entries if (told := _told(entry)) is not None]
    marking = {data["user"] for entry, data in said if entry.type == MARKED}
    choosing = {topic_key(data["user"], data["topic"]) for entry, data in said if entry.type == SUBSCRIPTION}
    marks = {user: Marks.of(row) for user, row in (yield from get(USERS, marking)).items()}
    topics: dict[str, Row | None] = dict((yield from get(TOPICS, choosing)))
    for entry, data in said:
        if entry.type == MARKED:
            marks[data["user"]] = marks.get(data["user"], Marks()).marked(data["mark"], data["spans"])
        else:
            key = topic_key(data["user"], data["topic"])
            topics[key] = _changed(topics.get(key), entry, data)
    items = {row.key: row for entry in entries if (row := _item(entry)) is not None}
    users = {user: marks[user].row(user) for user in marking}
    return {ITEMS: items, USERS: users, TOPICS: {key: topics.get(key) for key in choosing}}


def _changed(row: Row | None, entry: Entry, data: Mapping[str, Any]) -> Row | None:
    before = Subscription.of(row) if row is not None else Subscription(data["topic"])
    return _after(before, entry, data).row(data["user"])


def _after(before: Subscription, entry: Entry, data: Mapping[str, Any]) -> Subscription:
    at = moment_of(entry, from_json(entry.event))
    return before.changed(data["change"], data.get("until"), at, entry.position)


def _told(entry: Entry) -> Mapping[str, Any] | None:
    """What a mark or a change of a subscription says; None for what is neither, or is not an edge's."""
    if entry.type not in (MARKED, SUBSCRIPTION) or entry.source != EDGE_SOURCE:
        return None
    data = from_json(entry.event).get("data")
    if not isinstance(data, dict) or not isinstance(user := data.get("user"), str):
        return None
    if f"{INBOX_KIND}:{user}" not in entry.audience:
        return None
    is_lawful = _is_mark(data) if entry.type == MARKED else _is_change(data)
    return data if is_lawful else None


def _is_mark(data: Mapping[str, Any]) -> bool:
    spans = data.get("spans")
    return data.get("mark") in MARKS and isinstance(spans, list) and all(map(_is_span, spans))


def _is_span(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(end, int) for end in value)


def _is_change(data: Mapping[str, Any]) -> bool:
    is_time = isinstance(data.get("until"), str | None)
    return data.get("change") in CHANGES and isinstance(data.get("topic"), str) and is_time


def _item(entry: Entry) -> Row | None:
    """A notification as a row; None for another event, and for one without a title, which nobody could read."""
    if entry.type != NOTIFICATION or not entry.audience:
        return None
    attributes = from_json(entry.event)
    data = attributes.get("data")
    if is_replay(attributes):
        # The user has the original: seen, read or put away.
        return None
    if not isinstance(data, dict) or not isinstance(title := data.get("title"), str) or not title.strip():
        return None
    topics = [tag.removeprefix("topic:") for tag in entry.audience if tag.startswith("topic:")]
    item = {
        "id": str(entry.position),
        "title": title[:MAX_TITLE_CHARS],
        "body": _text(data.get("body"), MAX_BODY_CHARS),
        "link": safe_link(data.get("link")),
        "level": data["level"] if data.get("level") in LEVELS else LEVELS[0],
        "topic": _text(data.get("topic"), MAX_LINK_CHARS) or (topics[0] if len(topics) == 1 else None),
        "time": moment_of(entry, attributes),
        # Not shown: items lie in the order of this one, and not of what they say themselves.
        "appended": shown(entry.appended_at),
        "source": entry.source,
        "traceparent": entry.traceparent,
        "about": _about(data.get("about")),
    }
    return Row(item_key(entry.position), item, {"tag": list(entry.audience), "position": entry.position})


def _text(value: object, max_chars: int) -> str | None:
    return value[:max_chars] if isinstance(value, str) and value else None


def _about(value: object) -> dict[str, str] | None:
    """Only what tells which event it is: a page of items must not weigh what a producer likes."""
    if not isinstance(value, dict):
        return None
    return {name: told[:MAX_LINK_CHARS] for name in ABOUT if isinstance(told := value.get(name), str)} or None


def safe_link(value: object) -> str | None:
    """A link that a page may follow: a site by https or http, or a place on its own; never a script."""
    is_safe = isinstance(value, str) and len(value) <= MAX_LINK_CHARS and is_link(value)
    return str(value) if is_safe else None


INBOX = Projection(MODEL, fold)
