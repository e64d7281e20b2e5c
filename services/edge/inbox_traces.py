"""What becomes of traced notifications in inboxes: seen, read, or not shown because their topics are muted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from shared.folds.inbox_reading import Wanted
from shared.folds.moments import shown
from shared.model.errors import Unavailable
from shared.model.tags import EVERYONE, user_tag
from shared.telemetry import tracing

if TYPE_CHECKING:
    from services.edge.connection import Connection
    from services.edge.fanout import Spawn
    from services.edge.inbox import Inbox
    from services.edge.inbox_requests import Marking
    from services.edge.sessions import Session
    from services.edge.traces import DeliveryTraces
    from shared.folds.inbox import Topics
    from shared.model.entry import Entry

# Of what one request marks up to a place: a person has not read more.
MAX_TOLD_MARKS = 100
TOLD_MARKS = ("seen", "read")


class InboxTraces:
    """Tells in the background; whoever marks or receives does not wait for it, nor hears of its troubles.

    Args:
        entries: reads the log.
    """

    def __init__(
        self,
        inbox: Inbox,
        entries: Callable[[Collection[int]], Awaitable[Sequence[Entry]]],
        traces: DeliveryTraces,
        spawn: Spawn,
    ) -> None:
        self._inbox, self._entries, self._traces, self._spawn = inbox, entries, traces, spawn

    async def concerned(self, session: Session, mark: str, marking: Marking) -> Collection[int]:
        """The positions that a mark is about to change, where that is told. To be asked before it does."""
        if not tracing.is_on() or mark not in TOLD_MARKS:
            return ()
        if marking.through is None:
            return [int(id_) for id_ in marking.ids if id_.isdecimal()]
        try:
            wanted = Wanted(limit=MAX_TOLD_MARKS, below=marking.through + 1, unread=True)
            page = (await self._inbox.page(session, wanted)).result
        except Unavailable:
            return ()
        return [int(item["id"]) for item in page.items if not item[mark]]

    def marked(self, session: Session, mark: str, positions: Collection[int]) -> None:
        """The user has seen or read these items."""
        if positions:
            self._spawn(_untroubled(self._tell_marked(session.sub, mark, positions)), "edge-trace-marks")

    def notified(self, connection: Connection, entry: Entry) -> None:
        """A live notification is the user's; perhaps they have muted its topics."""
        if tracing.is_traced(entry.traceparent):
            self._spawn(_untroubled(self._tell_muted(connection, entry)), "edge-trace-muted")

    async def _tell_marked(self, sub: str, mark: str, positions: Collection[int]) -> None:
        now_ns = time.time_ns()
        for entry in await self._entries(positions):
            if tracing.is_traced(entry.traceparent):
                attributes = tracing.about(entry.source, entry.id, entry.type) | {
                    tracing.POSITION: entry.position,
                    tracing.USER: sub,
                    tracing.STEP: mark,
                }
                tracing.record(f"mark {mark}", SpanKind.INTERNAL, entry.traceparent, attributes, now_ns, now_ns)

    async def _tell_muted(self, connection: Connection, entry: Entry) -> None:
        session = connection.session
        topics = await self._inbox.known_topics(session)
        if is_muted(session.sub, entry.audience, topics, shown(datetime.now(UTC))):
            self._traces.skipped(entry, connection, "muted")


def is_muted(sub: str, audience: Collection[str], topics: Topics, now: str) -> bool:
    """Whether an inbox shows no notification of this audience because the user has muted what brings it. Pure."""
    if user_tag(sub) in audience or EVERYONE in audience:
        return False
    names = [tag.removeprefix("topic:") for tag in audience if tag.startswith("topic:")]
    followed = [topics.by_name[name] for name in names if name in topics.by_name]
    return bool(followed) and all(each.is_muted(now) for each in followed)


async def _untroubled(telling: Coroutine[Any, Any, None]) -> None:
    try:
        await telling
    except Unavailable:
        # What a backend that is away costs is told by those who need it.
        return
