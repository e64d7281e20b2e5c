"""The edge: every open connection of this process, and what they share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from services.edge import looking
from services.edge.connection import Connection
from services.edge.control import Revocations
from services.edge.fanout import Fanout
from services.edge.frames import CloseReason, EventFrame, ResetReason
from services.edge.grants import connection_tags
from services.edge.inbox import Inbox
from services.edge.inbox_news import InboxNews
from services.edge.inbox_traces import InboxTraces
from services.edge.limits import Rate, TooMany
from services.edge.presence import Presence
from services.edge.selection import Selection
from services.edge.sessions import NoSession, Session
from services.edge.subjects import Subjects
from services.edge.traces import DeliveryTraces
from services.edge.view import View
from shared.folds.inbox import Topics
from shared.model.control import control_tag
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Head, Page
from shared.model.errors import Unavailable
from shared.model.event import Event
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.settings import Settings
from shared.model.tags import inbox_tag
from shared.ports.sessions import SessionStore
from shared.telemetry import metrics
from shared.wiring import Backends

log = logging.getLogger(__name__)

# Backlog queries under way at once: enough to keep the log busy, too few to starve its writer.
CONCURRENT_READS = 16
# Time for the last frames of all streams to leave, once each has been told to end.
DRAIN_GRACE_S = 3.0
# What the log says of the sessions of users who were here last; of the others it is read again.
REMEMBERED_USERS = 10_000
CONTROL_PAGE_ENTRIES = 500
# How long a request waits to see its own event in the log.
LOGGED_WITHIN_S = 2.0
# Until the topics of a user are asked for again, while broker or log are away; jittered.
CHOOSE_AGAIN_S = 1.0


class Draining(Unavailable):
    """The process is about to end; another edge has room."""

    def __init__(self) -> None:
        super().__init__("edge", "it is shutting down")


class Edge:
    """Opens connections, and ends them all within the drain."""

    def __init__(self, settings: Settings, backends: Backends) -> None:
        self.settings = settings
        self._log, self._broker = backends.event_log, backends.broker
        self.store: SessionStore = backends.sessions
        self.inbox = Inbox(backends.read_models, self.announce)
        self.subjects = Subjects(self, backends.read_models)
        self._news = InboxNews(self.inbox, lambda sub: list(self._connections.get(sub, ())), self._spawn)
        self.presence = Presence(backends.sessions, backends.broker, tell=settings.presence)
        self.traces = DeliveryTraces(self.presence.edge)
        self.inbox_traces = InboxTraces(self.inbox, self.entries, self.traces, self._spawn)
        self._log_id = ""
        self._fanout = Fanout(backends.broker, self.encode, self._spawn)
        self._connections: dict[str, dict[Connection, None]] = {}
        self._count = 0
        # Told to end, and not yet gone: their last frame waits for a client that does not read.
        self._leaving: set[Connection] = set()
        self._by_address = Rate(settings.connects_per_address_per_s)
        self._by_user = Rate(settings.connects_per_user_per_s)
        self._revocations: OrderedDict[str, Revocations] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reads = asyncio.Semaphore(CONCURRENT_READS)
        self._draining = False
        self._empty = asyncio.Event()
        metrics.connections.told_by(self, Edge.connection_states)

    @property
    def connection_count(self) -> int:
        return self._count

    def statistics(self) -> dict[str, int]:
        """What this process holds now."""
        return {
            "connections": self._count,
            "leaving": len(self._leaving),
            "users": len(self._connections),
            "feeds": len(self._fanout.scopes()),
            "tasks": len(asyncio.all_tasks()),
        }

    def connection_states(self) -> dict[str, int]:
        """How many connections are in which state."""
        counts = Counter(connection.state for connection in (*self._all(), *self._leaving))
        return {state: counts[state] for state in ("live", "catching-up", "closing")}

    # Connections.

    async def connect(
        self, session: Session, selection: Selection, address: str, view: View | None = None
    ) -> Connection:
        """Opens a stream for the session, of all that it may see or of what a view shows.

        Raises `Unavailable` when broker or log do not answer or the edge drains, `TooMany` at a
        limit, `NotGranted` for a topic that the session may not see, `NoSession` where it was ended,
        and whatever the view raises at its opening.
        """
        view = view or View(selection)
        if self._draining:
            raise Draining
        self._check_limits(session, address)
        connection = Connection(self, session, selection, address, view)
        self._add(connection)
        try:
            await self._fanout.join(self._scope_of(session), connection)
            # Only what is read after the binding proves that everything above its head comes live, and
            # that a sign-out which is not in it will.
            head = await self.check(session)
            if connection.follows_topics and await self._follow(connection, head):
                head = await self.check(session)
            start = await view.open(connection.tags, head)
            connection.begin(start, head.last)
        except BaseException:
            connection.end()
            raise
        self._make_room(session.sub)
        self.presence.opened(connection)
        _count_opened(selection, start.reset)
        if self._draining:
            connection.close(CloseReason.DRAIN)
        return connection

    def leave(self, connection: Connection) -> None:
        """Takes out a connection that was told to end, however long its last frame takes; safe to call twice."""
        if self._take_out(connection):
            self._leaving.add(connection)

    def forget(self, connection: Connection) -> None:
        """Takes an ended connection out; safe to call twice."""
        self._take_out(connection)
        self._leaving.discard(connection)
        if not self._count and not self._leaving:
            self._empty.set()

    def _take_out(self, connection: Connection) -> bool:
        """Whether it was still in."""
        mine = self._connections.get(connection.session.sub, {})
        if connection not in mine:
            return False
        del mine[connection]
        self._count -= 1
        if not mine:
            del self._connections[connection.session.sub]
        self._fanout.leave(self._scope_of(connection.session), connection)
        if connection.has_begun:
            self.presence.closed(connection)
            metrics.streams_closed.labels(connection.closed_because).inc()
        return True

    async def drain(self) -> None:
        """Ends every stream with its own time to come back, and waits until all have left."""
        self._draining = True
        self._empty.clear()
        for connection in self._all():
            connection.close(CloseReason.DRAIN)
        if self._count or self._leaving:
            log.info("draining", extra={"connections": self._count})
            try:
                async with asyncio.timeout(DRAIN_GRACE_S):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("drained, but for readers that do not read", extra={"connections": len(self._leaving)})
        for task in self._tasks:
            task.cancel()

    def _add(self, connection: Connection) -> None:
        mine = self._connections.setdefault(connection.session.sub, {})
        mine[connection] = None
        self._count += 1

    def _make_room(self, sub: str) -> None:
        """Closes the user's oldest stream where there is one too many. Those that are only being opened do not count:

        most of what is refused is refused late, and must not cost anybody a stream.
        """
        open_ = [each for each in self._connections.get(sub, ()) if each.has_begun and not each.is_closing]
        if len(open_) > self.settings.connections_per_user:
            open_[0].close(CloseReason.TOO_MANY)

    def _check_limits(self, session: Session, address: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._count + len(self._leaving) >= self.settings.connections_max:
            raise TooMany("this server holds as many streams as it takes", 5, of_server=True)
        if wait_s := self._by_address.take(address, now_s):
            raise TooMany("this address connects too often", wait_s)
        if wait_s := self._by_user.take(session.sub, now_s):
            raise TooMany("this user connects too often", wait_s)
        limit = self.settings.connections_per_user
        mine = self._connections.get(session.sub, {})
        if self.settings.connections_over_limit == "refuse-newest" and len(mine) >= limit:
            raise TooMany(f"this user has {limit} streams open, and may not have more", 30)

    def _all(self) -> Sequence[Connection]:
        return [connection for mine in self._connections.values() for connection in mine]

    # Sessions.

    async def check(self, session: Session) -> Head:
        """Where the log ends, once it was read for what ended the session. Raises `NoSession`, `LogUnavailable`."""
        known = self._revocations.setdefault(session.sub, Revocations())
        self._revocations.move_to_end(session.sub)
        if len(self._revocations) > REMEMBERED_USERS:
            self._revocations.popitem(last=False)
        while True:
            page = await self._log.read(known.through, CONTROL_PAGE_ENTRIES, [control_tag(session.sub)])
            if self._learn(page.head.log_id):
                return await self.check(session)
            known.add(page.entries, page.through)
            if known.include(session):
                raise NoSession("session", "it was ended", "sign in again: POST /v1/session with a bearer token")
            if page.at_head:
                return page.head

    async def head(self) -> Head:
        """Where the log ends now. Raises `LogUnavailable`."""
        return await self._log.head()

    async def announce(self, event: Event) -> int:
        """Publishes an event of ours, and returns its position once the log has it. Raises `Unavailable`."""
        await self._broker.publish(event)
        identity = (event.source, event.id)

        async def position() -> int | None:
            return (await self._log.positions([identity])).get(identity)

        # Without it the caller must not believe that it has come; published, it will.
        return await looking.found(position, LOGGED_WITHIN_S, "the event was published, and is not in the log yet")

    # The inbox.

    def inbox_moved(self, connection: Connection, entry: Entry, *, is_live: bool) -> None:
        """An entry may have changed the counts of the connection's user."""
        self._news.due(connection.session.sub, entry.position)
        if is_live and entry.type == NOTIFICATION:
            self.inbox_traces.notified(connection, entry)

    def topics_changed(self, connection: Connection) -> None:
        """The connection's user follows other topics than before."""
        self._spawn(self._follow_on(connection), "edge-topics")

    async def _follow_on(self, connection: Connection) -> None:
        """Has the connection follow what its user does by now; tries until it does, or has ended."""
        while connection.is_choosing:
            try:
                await self._follow(connection, await self._log.head())
            except Unavailable as trouble:
                log.info("topics wait: %s", trouble, extra={"connection": connection.id})
                await asyncio.sleep(CHOOSE_AGAIN_S * random.uniform(0.5, 1.5))
            else:
                connection.chosen()

    async def _follow(self, connection: Connection, head: Head) -> bool:
        """Binds the connection to what its user follows as of this head; whether it was bound to something else."""
        topics = await self._topics(connection.session, head)
        tags = connection.tags_as_of(topics.position, self.inbox.followed(connection.session, topics))
        # While it is choosing, an earlier try may have left its tags unbound.
        if tags == connection.tags and not connection.is_choosing:
            return False
        await self._fanout.change(self._scope_of(connection.session), connection, tags)
        return True

    async def tags_of(self, session: Session, topics: Collection[str] | None, head: Head) -> frozenset[str]:
        """What a session may see that was checked: by itself, by its grants and by what its user follows.

        Args:
            topics: those asked for, which then are the only ones. Raises `NotGranted`.
            head: where the log ended when the session was checked.
        """
        tags = connection_tags(session.own_tags, session.grants, topics)
        if topics is not None:
            return tags
        return tags.union(self.inbox.followed(session, await self._topics(session, head)))

    async def _topics(self, session: Session, head: Head) -> Topics:
        """What the user says of topics: as the model has it, and what it has not folded yet."""
        known = await self.inbox.known_topics(session)
        while known.position < head.last:
            page = await self._log.read(known.position, CONTROL_PAGE_ENTRIES, [inbox_tag(session.sub)])
            known = known.after(page.entries, page.through)
        return known

    # What connections share.

    async def read(self, after: int, tags: Collection[str]) -> Page:
        """A page of the log, in turn with the other connections. Raises `LogUnavailable`."""
        async with self._reads:
            page = await self._log.read(after, self.settings.backlog_page_events, tags)
        self._learn(page.head.log_id)
        return page

    async def read_stream(self, subject: str, after_version: int, limit: int) -> Page:
        """A page of one subject, in turn as well. Raises `LogUnavailable`."""
        async with self._reads:
            page = await self._log.read_stream(subject, after_version, limit)
        self._learn(page.head.log_id)
        return page

    async def entries(self, positions: Collection[int]) -> Sequence[Entry]:
        """The entries at these positions, in turn with the connections' reads. Raises `LogUnavailable`."""
        async with self._reads:
            return await self._log.entries(positions)

    @property
    def log_id(self) -> str:
        """Which log this edge knows; empty before its first look."""
        return self._log_id

    def encode(self, entry: Entry) -> EventFrame:
        """The entry's frame."""
        return EventFrame.of(entry, self.cursor(entry.position))

    def cursor(self, position: int) -> str:
        """The cursor of a position in the log as this edge knows it."""
        return str(Cursor(self._log_id, position))

    def reconnect_delay_ms(self, reason: CloseReason) -> int:
        """What `retry:` tells a client that is sent away: spread over the drain, so that it is no stampede."""
        spread_ms = self.settings.drain_s * 1000 if reason is CloseReason.DRAIN else 0
        return int(self.settings.retry_ms * random.uniform(0.5, 1.0) + random.uniform(0, spread_ms))

    def _scope_of(self, session: Session) -> str:
        return session.sub if self.settings.routing == "user-queues" else ""

    def _learn(self, log_id: str) -> bool:
        """Takes note of the log's id; True where it is another log than before."""
        if log_id == self._log_id:
            return False
        is_another, self._log_id = bool(self._log_id), log_id
        if is_another:
            log.warning("the log has been replaced", extra={"log_id": log_id})
            self._revocations.clear()
            self._fanout.forget_frames()
            for connection in self._all():
                connection.close(CloseReason.LOG_REPLACED)
        return is_another

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, Unavailable):
            log.error("%s failed", task.get_name(), exc_info=error)


def _count_opened(selection: Selection, reset: ResetReason | None) -> None:
    start = "new" if selection.cursor is None else "resumed" if reset is None else "reset"
    metrics.streams_opened.labels(start).inc()
    if reset is not None:
        metrics.stream_resets.labels(reset.value).inc()
