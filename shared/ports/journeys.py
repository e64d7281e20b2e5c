"""The journeys of events: each step that a traced event took, kept for a while, whatever else traces go to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

STAGES = ("accepted", "persisted", "dispatched", "delivered", "received", "seen", "read")
"""What can happen to an event, in the order of its life."""

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
"""A step that led nowhere was skipped where that is as it should be (nobody connected, filtered, muted),
and failed where it is not."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to one event. Times are microseconds since the epoch, of the process that did it."""

    stage: str
    source: str
    id: str
    """Of the event."""
    trace: str
    span: str
    """32 and 16 hexadecimal digits, as in a `traceparent`."""
    parent: str | None
    began_us: int
    took_us: int
    service: str
    """The process: what it is, and which."""
    outcome: str = DONE
    reason: str | None = None
    """Why it was skipped or failed: a short stable word."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What else is known: `position`, `user`, `connection`, `edge`, `replayed`, `others`, …"""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same step: a span may be a step of several events."""
        return self.span, self.stage, self.source, self.id


class JourneyStore(Protocol):
    """Promises.

    - A step that `keep` returned for is found until its time is over, and not for long after it.
    - The same step again (`Step.key`) is the same step: whoever does not know whether `keep` took
      effect repeats it.
    - Found steps come in the order in which they began; the limit cuts off the last ones.
    - Keeping costs what it keeps, and finding what it returns, whatever else is there.

    Every method raises `LogUnavailable` within a bounded time when the storage does not answer.
    """

    async def keep(self, steps: Collection[Step], kept_s: float) -> None:
        """Stores the steps for `kept_s` from now."""
        ...

    async def of_event(self, id_: str, source: str | None = None, *, limit: int) -> Sequence[Step]:
        """Steps of the event; of all events with this id where no source is given."""
        ...

    async def of_trace(self, trace: str, *, limit: int) -> Sequence[Step]:
        """Steps of one trace, of whichever events."""
        ...
