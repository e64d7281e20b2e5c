"""What this process published lately: until the log holds an event, nobody else knows it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.model.content import Content
from shared.model.entry import Identity
from shared.model.event import Event

# Some seconds of a busy producer, and far longer than an event takes into the log.
MAX_EVENTS = 20_000
MAX_BYTES = 16 * 1024 * 1024
# A persister that is away for longer meets the repeat itself.
KEPT_S = 10.0

Outcome = TypeVar("Outcome")


class Published(Generic[Outcome]):
    """One event that is being published, or was a moment ago."""

    __slots__ = ("_event", "_outcome", "_waiting", "begun_at", "body")

    def __init__(self, event: Event, begun_at: float) -> None:
        self._event: Event | None = event
        self.body = b""
        """As it was published; empty until then."""
        self.begun_at = begun_at
        self._outcome: Outcome | None = None
        self._waiting: asyncio.Future[None] | None = None

    def check_repeat(self, repeat: Event) -> None:
        """Raises `IdentityConflict` where the repeat says something else."""
        content = Content.of(self._event) if self._event else Content.of_json(self.body)
        content.check_repeat(Content.of(repeat))

    def settle(self, outcome: Outcome, body: bytes = b"") -> None:
        """Tells what became of it to all who wait.

        Args:
            body: of an event that was published. Bytes are kept then, since objects take several times as much.
        """
        self._outcome = outcome
        if body:
            self.body, self._event = body, None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def outcome(self) -> Outcome:
        """What became of it."""
        while self._outcome is None:
            self._waiting = self._waiting or asyncio.get_running_loop().create_future()
            # Several may wait for it: one that gives up must not take it from the others.
            await asyncio.shield(self._waiting)
        return self._outcome


class Recent(Generic[Outcome]):
    """The events that are being published, and those of the last seconds. Bounded in count, bytes and time.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_identity: OrderedDict[Identity, Published[Outcome]] = OrderedDict()
        self._bytes = 0

    def get(self, identity: Identity) -> Published[Outcome] | None:
        """The event of this identity, where it is still known."""
        found = self._by_identity.get(identity)
        if found is None or self._clock() - found.begun_at > KEPT_S:
            return None
        return found

    def begin(self, identity: Identity, event: Event) -> Published[Outcome]:
        """From now on others meet this event."""
        self._drop(self._by_identity.pop(identity, None))
        published = self._by_identity[identity] = Published[Outcome](event, self._clock())
        return published

    def confirm(self, identity: Identity, published: Published[Outcome], outcome: Outcome, body: bytes) -> None:
        """It is on its way to the log, and others go on meeting it for a while."""
        published.settle(outcome, body)
        if self._by_identity.get(identity) is not published:
            return  # it was overtaken, and is counted no more
        self._bytes += len(body)
        while len(self._by_identity) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._drop(self._by_identity.popitem(last=False)[1])

    def fail(self, identity: Identity, published: Published[Outcome], outcome: Outcome) -> None:
        """It was not published, or perhaps not: whoever sends it next tries anew."""
        published.settle(outcome)
        if self._by_identity.get(identity) is published:
            del self._by_identity[identity]

    def _drop(self, gone: Published[Outcome] | None) -> None:
        self._bytes -= len(gone.body) if gone else 0
