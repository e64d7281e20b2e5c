"""The broker: events in, confirmed and in order; entries out, to whoever holds one of their tags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from shared.model.entry import Entry
from shared.model.event import Event


@dataclass(frozen=True, slots=True)
class Arrival:
    """One thing on the intake: perhaps an event, perhaps garbage."""

    body: bytes
    receipt: int
    """What acknowledges it; rises with each arrival of one intake."""
    redelivered: bool = False
    traceparent: str | None = None
    """As the message's headers say, for events that bring none themselves."""
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be appended, kept whole for an operator to look at."""

    body: bytes
    reason: str
    """A short stable word, such as `invalid-event`."""
    detail: str
    """The sentence that tells what was wrong, where, and what to do."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default="", compare=False)
    """What the broker calls it, once it was parked."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in the broker's durable queues."""

    intake: int
    """Published events that no consumer was handed yet."""
    dead: int
    """Dead letters."""


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """One request to the platform by way of the broker: bytes, from whoever may publish there."""

    body: bytes
    id: str | None = None
    """What its sender calls it, the same if it comes again; None where they named it nothing."""
    sender: str | None = None
    """Whom the broker knows them as; None where they did not say."""
    traceparent: str | None = None
    tracestate: str | None = None


RpcAnswer = Callable[[RpcRequest], Awaitable[bytes | None]]
"""Carries a request out, and returns its reply; None where there is nothing to say."""

# Requests that one server carries out at a time. Each waits for the log and for a confirm, some
# milliseconds both; and what is in hand comes again after a crash.
RPC_AT_ONCE = 32


class Intake(Protocol):
    """What one active consumer receives from the durable queue of published events."""

    async def batch(self, max_events: int, max_wait_s: float) -> Sequence[Arrival]:
        """Waits for one arrival, then at most `max_wait_s` for up to `max_events` in all, in order.

        Raises `BrokerUnavailable` once the consumer is gone; what was not acknowledged comes again.
        """
        ...

    async def ack(self, through: Arrival) -> None:
        """Takes this arrival and all before it off the queue. Raises `BrokerUnavailable`."""
        ...


class Feed(Protocol):
    """A queue of this process's own, that receives the entries of the tags bound to it."""

    async def bind(self, tags: Collection[str]) -> None:
        """On return, every entry delivered from now on to one of `tags` arrives. Raises `BrokerUnavailable`."""
        ...

    async def unbind(self, tags: Collection[str]) -> None:
        """Entries of these tags may stop arriving. Raises `BrokerUnavailable`."""
        ...

    async def close(self) -> None:
        """Ends the feed and drops its queue; safe to call twice, never raises."""
        ...


class Broker(Protocol):
    """Promises.

    - `publish` returns only when the events are stored durably; from then on they reach the intake,
      at least once, also after a crash of everything.
    - Intake keeps the order of confirmed publishes of one publisher; what is redelivered comes
      before what is newer. One consumer is active at a time, yet that is no lock: a paused one may
      wake up, which is why the log has a fence.
    - `deliver` hands entries to each feed in the order given. Repeats are allowed, gaps are not:
      a feed that may have missed an entry is lost, and says so.

    Every method raises `BrokerUnavailable` within a bounded time when the broker does not answer.
    """

    async def publish(self, *events: Event) -> None:
        """Stores the events for the persister, in this order.

        After an error any of them may have been stored: publish the same ones again.
        """
        ...

    async def publish_raw(self, body: bytes, content_type: str) -> None:
        """Stores bytes as any AMQP client could: nothing is checked before the persister."""
        ...

    def intake(self, prefetch: int) -> AbstractAsyncContextManager[Intake]:
        """Consumes the queue of published events, as the active consumer or standing by."""
        ...

    async def park(self, letter: DeadLetter) -> None:
        """Stores a dead letter durably."""
        ...

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """The oldest dead letters, left where they are."""
        ...

    async def requeue_dead(self, ids: Collection[str], bodies: Mapping[str, bytes] | None = None) -> Collection[str]:
        """Publishes dead letters for the persister anew, and then takes them off; returns the ids that it found.

        It finds those that `dead_letters` shows. A crash in between leaves letters that were published
        already, and none is lost; what keeps an event from being appended twice is its source and id.

        Args:
            bodies: by id, what is published in place of the letter's own body.
        """
        ...

    async def drop_dead(self, ids: Collection[str]) -> Collection[str]:
        """Takes dead letters off for good; returns the ids that it found, as `requeue_dead` does."""
        ...

    async def deliver(self, entries: Sequence[Entry], watched: Collection[int] = ()) -> Collection[int]:
        """Hands the entries to the feeds bound to their tags; returns when all are confirmed.

        Of the positions in `watched` it returns those that no feed was bound for. It may leave some
        out, and names none that a feed received. Watching costs; it is for entries that are traced.
        """
        ...

    async def tell_progress(self, position: int) -> None:
        """Tells every feed that `deliver` is done with all entries at or below `position`."""
        ...

    async def open_feed(
        self,
        on_entry: Callable[[Entry], None],
        on_lost: Callable[[str], None],
        on_progress: Callable[[int], None] | None = None,
    ) -> Feed:
        """Opens a feed with no tags bound. What it calls must not block.

        Args:
            on_entry: takes each entry of the tags bound, in order.
            on_lost: told the reason, at most once, when the feed has ended by itself: entries may
                have been missed.
            on_progress: told a position when every entry at or below it, of tags that were bound
                when it was dispatched, has been handed to `on_entry` before.
        """
        ...

    async def waiting(self) -> Waiting:
        """How much waits now; may lag by what was published or taken in the last seconds."""

    def serve_rpc(self, answer: RpcAnswer) -> AbstractAsyncContextManager[None]:
        """Inside, requests are handed to `answer`, at most `RPC_AT_ONCE` at a time and in no order.

        - A request goes to one of all that serve, and is done with only once it was answered: after a
          crash it comes again, to whoever serves then. So it is carried out at least once, and its
          `id` tells that it is the same.
        - One whose time is over is not carried out.
        - A reply that nobody waits for any more is dropped, and holds nobody up.
        - What `answer` raises is logged, and its request stays without a reply.
        - Entering needs no broker; after an outage serving goes on by itself.
        - Leaving takes no new request, and gives those under way `backend_timeout_s` for their replies.
        """
        ...

    async def call(self, body: bytes, timeout_s: float) -> bytes:
        """Sends one request to whoever serves, and returns the reply.

        Raises `BrokerUnavailable` where none came within `timeout_s`; then it is unknown whether the
        request was carried out, and if nobody had begun, nobody will.
        """
        ...

    async def ping(self) -> None:
        """Returns when the broker answers."""
        ...
