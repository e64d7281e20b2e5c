"""What a user finds in the inbox: pages and counts, as of one position. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any

from shared.folds.inbox import BY_TAG, BY_USER, ITEMS, TOPICS, USERS, Marks, Subscription, item_key
from shared.folds.spans import Span, Spans, gaps, holds, united
from shared.model.read_model import MAX_INTEGER, Range, Reading, Row, get, rows
from shared.model.tags import EVERYONE, user_tag

# A badge says "99+"; nobody reads a larger number, and counting on would cost by the size of the inbox.
MAX_COUNTED = 100
# Of one user: each is a run of the index that a page is merged from.
MAX_TOPICS = 100
# A page that is filtered looks no further for its items; its `next` goes on from there.
MAX_SCANNED = 1000
# Questions of one count or page. Runs of unread items far apart cost one each, and one more for each topic
# that was followed within them.
MAX_QUESTIONS = 300

Run = tuple[tuple[str, ...], int]
"""Tags whose items are the user's, above a position."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, and when."""

    sub: str
    may_see: Callable[[str], bool]
    """Whether the session's grants cover a tag; who lost a topic finds nothing of it."""
    now: str
    """RFC 3339, UTC: what is muted until then is heard again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items of the inbox."""

    limit: int = 50
    below: int = MAX_INTEGER
    """Older than this position: where the page before ended."""
    unread: bool = False
    archived: bool = False
    """Only what has been archived; otherwise only what has not."""
    level: str | None = None
    topic: str | None = None
    since: str | None = None
    """RFC 3339, UTC."""

    def takes(self, item: Mapping[str, Any]) -> bool:
        """Whether an item passes what no index knows."""
        return (
            (self.level is None or item["level"] == self.level)
            and (self.topic is None or item["topic"] == self.topic)
            and (self.since is None or item["time"] >= self.since)
        )

    def is_before(self, item: Mapping[str, Any]) -> bool:
        """Whether neither this item nor an older one can be wanted.

        By when it was appended: what it says of its own time may be years ago, with newer items below it.
        """
        return self.since is not None and item["appended"] < self.since


@dataclass(frozen=True, slots=True)
class Page:
    """Items, newest first."""

    items: Sequence[Mapping[str, Any]]
    next: int | None
    """Where the next page goes on; None at the end."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Each of them `MAX_COUNTED` where there are more."""

    unread: int
    unseen: int


def subscriptions(sub: str) -> Reading[Sequence[Subscription]]:
    """What the user has said of topics, in the order of their names."""
    found = yield from rows(Range(TOPICS, BY_USER, {"user": sub}, limit=MAX_TOPICS))
    return list(map(Subscription.of, found))


def inbox_page(viewer: Viewer, wanted: Wanted) -> Reading[Page]:
    """A page of the user's items."""
    marks, runs = yield from _opened(viewer)
    spans = list(_wanted_spans(marks, wanted))
    items: list[Mapping[str, Any]] = []
    scanned = 0
    while spans and scanned < MAX_SCANNED:
        found = yield from _newest(runs, spans, wanted.limit + 1)
        for row in found.rows:
            if wanted.is_before(row.body):
                return Page(items, None)
            if wanted.takes(row.body):
                if len(items) == wanted.limit:
                    return Page(items, int(items[-1]["id"]))
                items.append(_shown(row, marks))
            scanned += 1
        spans = list(_below(spans, found.down_to))
        if found.is_cut:
            break
    return Page(items, spans[0][1] + 1 if spans else None)


def inbox_counts(viewer: Viewer) -> Reading[Counts]:
    """How many of the user's items are unread, and unseen. What is archived counts as neither."""
    marks, runs = yield from _opened(viewer)
    unread = yield from _newest(runs, gaps(united(marks.read, marks.archived), 1, MAX_INTEGER), MAX_COUNTED)
    unseen = yield from _newest(runs, gaps(united(marks.seen, marks.archived), 1, MAX_INTEGER), MAX_COUNTED)
    return Counts(len(unread.rows), len(unseen.rows))


@dataclass(frozen=True, slots=True)
class Placed:
    """Where items lie."""

    spans: Spans
    missing: Sequence[str]
    """Ids of no item that the user may see."""


def placed(viewer: Viewer, ids: Collection[str], *, widen: bool) -> Reading[Placed]:
    """The spans of these items.

    Args:
        widen: up to the items before and after. So the spans of neighbours become one, and what a
            user has read one by one is as short as what was read at once.
    """
    _, runs = yield from _opened(viewer)
    keys = {id_: item_key(int(id_)) for id_ in ids if id_.isascii() and id_.isdigit() and len(id_) < 19}
    found = yield from get(ITEMS, set(keys.values()))
    mine = {id_: found[key] for id_, key in keys.items() if key in found and _is_seen(found[key], runs)}
    spans: list[Span] = []
    for row in mine.values():
        position = _position(row)
        spans.append((yield from _widened(runs, position)) if widen else (position, position))
    return Placed(united(spans), [id_ for id_ in ids if id_ not in mine])


def _widened(runs: Sequence[Run], position: int) -> Reading[Span]:
    """From behind the item before to in front of the one after, or to the item itself where there is none yet."""
    before = (yield from _newest(runs, [(1, position - 1)], 1)).rows
    after = yield from _oldest(runs, position)
    return (_position(before[0]) + 1 if before else 1, _position(after[0]) - 1 if after else position)


def _opened(viewer: Viewer) -> Reading[tuple[Marks, Sequence[Run]]]:
    """The user's marks, and the runs of items that are theirs at this moment."""
    marks = Marks.of((yield from get(USERS, [viewer.sub])).get(viewer.sub))
    own: Run = ((user_tag(viewer.sub), EVERYONE), 0)
    followed: list[Run] = []
    for topic in (yield from subscriptions(viewer.sub)):
        tag = f"topic:{topic.topic}"
        if topic.followed_at is not None and not topic.is_muted(viewer.now) and viewer.may_see(tag):
            followed.append(((tag,), topic.since))
    return marks, [own, *followed]


def _wanted_spans(marks: Marks, wanted: Wanted) -> Iterator[Span]:
    """Where the wanted items lie, from the newest down."""
    last = wanted.below - 1
    if wanted.archived:
        hidden = tuple(gaps(marks.archived, 1, MAX_INTEGER))[::-1]
        hidden = united(hidden, marks.read) if wanted.unread else hidden
    else:
        hidden = united(marks.archived, marks.read) if wanted.unread else marks.archived
    yield from gaps(hidden, 1, last)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was found from the top down."""

    rows: Sequence[Row]
    down_to: int
    """Every item at or above this position has been looked at."""
    is_cut: bool = False
    """Whether it ended because it took as many questions as it may."""


def _newest(runs: Sequence[Run], spans: Iterable[Span], limit: int) -> Reading[Stretch]:
    """Up to `limit` items in these spans, newest first; the spans come newest first, too."""
    found: list[Row] = []
    questions = 0
    for first, last in spans:
        parts: list[Sequence[Row]] = []
        for above, tags in _lows(runs, first - 1).items():
            if above < last:
                span = Range(ITEMS, BY_TAG, {"tag": tags}, above, last + 1, descending=True, limit=limit - len(found))
                parts.append((yield from rows(span)))
                questions += 1
        found += islice(_each_once(merge(*parts, key=_position, reverse=True)), limit - len(found))
        if len(found) >= limit:
            return Stretch(found, _position(found[-1]))
        if questions >= MAX_QUESTIONS:
            return Stretch(found, first, is_cut=True)
    return Stretch(found, 1)


def _oldest(runs: Sequence[Run], above: int) -> Reading[list[Row]]:
    """The first item above a position."""
    found: list[Row] = []
    for low, tags in _lows(runs, above).items():
        found += yield from rows(Range(ITEMS, BY_TAG, {"tag": tags}, low, limit=1))
    return sorted(found, key=_position)[:1]


def _lows(runs: Sequence[Run], above: int) -> Mapping[int, Sequence[str]]:
    """By where their items begin above the position: one question for all tags but those followed since then."""
    lows: dict[int, list[str]] = {}
    for tags, since in runs:
        lows.setdefault(max(above, since), []).extend(tags)
    return lows


def _each_once(found: Iterable[Row]) -> Iterator[Row]:
    last = None
    for row in found:
        if row.key != last:
            yield row
        last = row.key


def _below(spans: Iterable[Span], position: int) -> Iterator[Span]:
    for first, last in spans:
        if first < position:
            yield first, min(last, position - 1)


def _is_seen(row: Row, runs: Iterable[Run]) -> bool:
    tags = row.fields["tag"]
    assert isinstance(tags, tuple)
    return any(since < _position(row) and not set(tags).isdisjoint(wanted) for wanted, since in runs)


def _position(row: Row) -> int:
    return int(row.key)


def _shown(row: Row, marks: Marks) -> dict[str, Any]:
    position = _position(row)
    item = {name: value for name, value in row.body.items() if name != "appended"}
    return item | {
        "seen": holds(marks.seen, position),
        "read": holds(marks.read, position),
        "archived": holds(marks.archived, position),
    }
