"""The promises, under any order of steps and faults.

A Hypothesis state machine drives the pure cores of persister, dispatch and edge over a log, an
intake and feeds that are plain data here. Each rule is one atomic step of one process, so that
Hypothesis chooses the interleaving, and the faults: crash at any step, redelivery, a writer that is
paused and wakes up, an append whose outcome nobody learns, a lost feed, a client that drops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from services.edge.handover import Handover, Offer, start_after
from services.persister.batch import Arrived, Known, Plan, plan_batch, sort_arrivals
from shared.model.content import Content
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Head, Page
from shared.model.event import Event
from shared.ports.broker import Arrival

LOG_ID = "machine"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = ("user:a", "user:b", "topic:t", "everyone")


@dataclass
class Log:
    """The log as data. Without its fence it stores at whatever position a writer names."""

    fenced: bool
    entries: list[Entry] = field(default_factory=list)
    epoch: int = 0
    checkpoint: int = 0

    @property
    def head(self) -> Head:
        return Head(LOG_ID, len(self.entries))

    def claim(self) -> tuple[int, int]:
        self.epoch += 1
        return self.epoch, len(self.entries)

    def append(self, epoch: int, entries: list[Entry]) -> bool:
        if self.fenced and (epoch != self.epoch or entries[0].position != len(self.entries) + 1):
            return False
        self.entries += entries
        return True

    def known(self, arrived: list[Arrived], last: int) -> Known:
        wanted = {one.identity for one in arrived}
        contents = {entry.identity: Content.of_entry(entry) for entry in self.entries if entry.identity in wanted}
        versions = {entry.subject: entry.version or 0 for entry in self.entries if entry.subject}
        return Known(last, contents, versions)

    def read(self, after: int, limit: int, tags: frozenset[str]) -> Page:
        found = [entry for entry in self.entries if entry.position > after and tags & set(entry.audience)][:limit]
        through = found[-1].position if len(found) == limit else len(self.entries)
        return Page(found, max(through, after), self.head)


@dataclass
class WriterProcess:
    """Where one persister stands between two of its steps."""

    epoch: int = 0
    last: int = 0
    batch: list[Arrival] = field(default_factory=list)
    plan: Plan | None = None
    done: bool = False


@dataclass
class Client:
    """A browser: what it received, and the stream that it has open, if any."""

    tags: frozenset[str]
    started_after: int
    received: list[int] = field(default_factory=list)
    cursor: int = 0
    handover: Handover[bytes] | None = None
    is_bound: bool = False
    page: Page | None = None


class Pipeline(RuleBasedStateMachine):
    """Publishers, an intake, two persisters, one dispatch at a time, and two clients."""

    fenced = True

    @initialize()
    def begin(self) -> None:
        self.log = Log(self.fenced)
        self.intake: list[Arrival] = []
        self.confirmed: list[tuple[str, str]] = []
        self.receipts = 0
        self.writers = [WriterProcess(), WriterProcess()]
        self.dispatched = 0
        self.clients = [
            Client(frozenset({"user:a", "everyone"}), 0),
            Client(frozenset({"user:b", "topic:t"}), 0),
        ]

    # Publishers.

    @rule(
        number=st.integers(0, 60),
        audience=st.lists(st.sampled_from(TAGS), unique=True, max_size=3),
        subject=st.sampled_from([None, "job/1", "job/2"]),
        expected=st.sampled_from([None, None, 0, 1, 2]),
        copies=st.integers(1, 3),
    )
    def publish(self, number: int, audience: list[str], subject: str | None, expected: int | None, copies: int) -> None:
        attributes = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}
        attributes |= {"audience": " ".join(audience)} if audience else {}
        attributes |= {"subject": subject} if subject else {}
        body = Event.from_attributes(attributes | ({"expectedversion": expected} if subject and expected else {}))
        for _ in range(copies):
            self.receipts += 1
            self.intake.append(Arrival(body.to_json(), self.receipts))
        if expected is None or subject is None:
            self.confirmed.append(("/s", str(number)))

    @rule(audience=st.sampled_from(["user:a", "user:a topic:t", "everyone"]), copies=st.integers(1, 4))
    def run_through(self, audience: str, copies: int) -> None:
        """Several events all the way, so that few steps make a history worth breaking."""
        for _ in range(copies):
            self.publish(1000 + self.receipts, audience.split(), None, None, 1)
        for which in (0, 1):
            self.persist(which)
        self.dispatch(copies)

    @rule()
    def publish_garbage(self) -> None:
        self.receipts += 1
        self.intake.append(Arrival(b"\xff not an event", self.receipts))

    # Persisters, one step at a time. The broker may hand the same arrivals to both: the single
    # active consumer is no lock.

    @rule(which=st.integers(0, 1), size=st.integers(1, 5))
    def take_batch(self, which: int, size: int) -> None:
        writer = self.writers[which]
        if not writer.batch and self.intake:
            writer.batch, writer.plan, writer.done = self.intake[:size], None, False
            if writer.epoch == 0:
                writer.epoch, writer.last = self.log.claim()

    @rule(which=st.integers(0, 1))
    def plan(self, which: int) -> None:
        writer = self.writers[which]
        if writer.batch and writer.plan is None and not writer.done:
            found = sort_arrivals(writer.batch, 10_000)
            known = self.log.known(found.events, writer.last)
            writer.plan = plan_batch(found.events, known, NOW)

    @rule(which=st.integers(0, 1), outcome_is_known=st.booleans(), takes_effect=st.booleans())
    def append(self, which: int, outcome_is_known: bool, takes_effect: bool) -> None:
        writer = self.writers[which]
        if writer.plan is None:
            return
        if not outcome_is_known:
            # The connection broke: perhaps before the commit, perhaps after. The writer claims anew.
            if takes_effect and writer.plan.entries:
                self.log.append(writer.epoch, writer.plan.entries)
            writer.plan = None
            writer.epoch, writer.last = self.log.claim()
            return
        if writer.plan.entries and not self.log.append(writer.epoch, writer.plan.entries):
            self.writers[which] = WriterProcess()
            return
        writer.last += len(writer.plan.entries)
        writer.plan, writer.done = None, True

    @rule(which=st.integers(0, 1))
    def acknowledge(self, which: int) -> None:
        writer = self.writers[which]
        if writer.batch and writer.done:
            taken = {arrival.receipt for arrival in writer.batch}
            self.intake = [arrival for arrival in self.intake if arrival.receipt not in taken]
            writer.batch, writer.done = [], False

    @rule(which=st.integers(0, 1))
    def persist(self, which: int) -> None:
        """The four steps at once, so that histories get long enough to be interesting."""
        self.take_batch(which, 5)
        self.plan(which)
        self.append(which, True, True)
        self.acknowledge(which)

    @rule(which=st.integers(0, 1))
    def crash_persister(self, which: int) -> None:
        self.writers[which] = WriterProcess()

    @rule(which=st.integers(0, 1))
    def take_over(self, which: int) -> None:
        writer = self.writers[which]
        writer.epoch, writer.last = self.log.claim()
        writer.plan = None

    # Dispatch.

    @rule(count=st.integers(1, 6))
    def dispatch(self, count: int) -> None:
        for entry in self.log.entries[self.dispatched : self.dispatched + count]:
            for client in self.clients:
                if client.handover is not None and client.is_bound and client.tags & set(entry.audience):
                    offer = client.handover.offer(entry.position, b"%d " % entry.position)
                    if offer is Offer.OVERFLOW:
                        self._drop(client)
            self.dispatched += 1

    @rule()
    def move_checkpoint(self) -> None:
        self.log.checkpoint = max(self.log.checkpoint, self.dispatched)

    @rule()
    def crash_dispatch(self) -> None:
        self.dispatched = self.log.checkpoint

    # Clients and their edges.

    @rule(which=st.integers(0, 1))
    def connect(self, which: int) -> None:
        client = self.clients[which]
        if client.handover is None:
            after, reset = start_after(str(Cursor(LOG_ID, client.cursor)), self.log.head)
            assert reset is None
            client.handover = Handover(after, max_frames=2, max_bytes=10_000, behind=after < self.log.head.last)
            client.is_bound = True

    @rule(which=st.integers(0, 1))
    def begin_read(self, which: int) -> None:
        client = self.clients[which]
        if client.handover is not None and client.page is None and client.handover.must_read:
            client.page = self.log.read(client.handover.begin_read(), 3, client.tags)

    @rule(which=st.integers(0, 1))
    def end_read(self, which: int) -> None:
        client = self.clients[which]
        if client.handover is not None and client.page is not None:
            self._receive(client, [entry.position for entry in client.page.entries])
            client.handover.end_read(client.page.through, at_head=client.page.at_head)
            client.page = None

    @rule(which=st.integers(0, 1))
    def send_live(self, which: int) -> None:
        client = self.clients[which]
        if client.handover is not None and client.page is None:
            self._receive(client, [int(frame) for frame in client.handover.take(6)])

    @rule()
    def tell_progress(self) -> None:
        """The dispatch tells how far it is, in order with what it dispatched."""
        for client in self.clients:
            if client.handover is not None and client.is_bound:
                client.handover.passed(self.dispatched)

    @rule(which=st.integers(0, 1))
    def heartbeat(self, which: int) -> None:
        """A quiet client learns that the log went on without it."""
        client = self.clients[which]
        if client.handover is not None and client.page is None:
            client.cursor = max(client.cursor, client.handover.progress)

    @rule(which=st.integers(0, 1))
    def lose_feed(self, which: int) -> None:
        client = self.clients[which]
        if client.handover is not None and client.is_bound:
            client.is_bound = False
            client.handover.bound(False)

    @rule(which=st.integers(0, 1))
    def reopen_feed(self, which: int) -> None:
        client = self.clients[which]
        if client.handover is not None and not client.is_bound:
            client.is_bound = True
            client.handover.bound(True)

    @rule(which=st.integers(0, 1))
    def drop_connection(self, which: int) -> None:
        self._drop(self.clients[which])

    # What must hold.

    def teardown(self) -> None:
        """All faults end; everything runs to its end; then the promises are checked."""
        if not hasattr(self, "log"):
            return
        for _ in range(len(self.intake) + 2):
            for which in (0, 1):
                self.persist(which)
        for which in range(2):
            self.connect(which)
            self.reopen_feed(which)
        self.crash_dispatch()
        while self.dispatched < len(self.log.entries):
            self.dispatch(4)
            self._settle()
        for which in range(2):
            self.connect(which)
        self._settle()
        self._check()

    def _settle(self) -> None:
        for _ in range(len(self.log.entries) + 3):
            for which in range(2):
                self.begin_read(which)
                self.end_read(which)
                self.send_live(which)

    def _check(self) -> None:
        entries = self.log.entries
        assert self.intake == []
        identities = [entry.identity for entry in entries]
        assert set(self.confirmed) <= set(identities), "1: a confirmed event is not in the log"
        assert len(identities) == len(set(identities)), "1: an event is in the log twice"
        assert [entry.position for entry in entries] == list(range(1, len(entries) + 1)), "2: positions"
        for subject in ("job/1", "job/2"):
            versions = [entry.version for entry in entries if entry.subject == subject]
            assert versions == list(range(1, len(versions) + 1)), "2: versions"
        for client in self.clients:
            slice_ = [entry.position for entry in entries if client.tags & set(entry.audience)]
            assert client.received == slice_, "3 and 4: a client's slice of the log"

    def _receive(self, client: Client, positions: list[int]) -> None:
        client.received += positions
        client.cursor = max([client.cursor, *positions])

    def _drop(self, client: Client) -> None:
        client.handover, client.page, client.is_bound = None, None, False


class UnfencedPipeline(Pipeline):
    """The same without the fence: the machine must notice."""

    fenced = False


def test_the_promises_hold_whatever_happens() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Pipeline,
        settings=settings(
            max_examples=800, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_without_the_fence_the_machine_finds_a_violation() -> None:
    with pytest.raises(AssertionError, match=r"twice|positions|versions|slice|not in the log"):
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            UnfencedPipeline,
            settings=settings(
                max_examples=1000,
                stateful_step_count=60,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
