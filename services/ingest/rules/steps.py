"""What rules may cost. Steps are counted, not seconds: the same event is routed the same way on any machine."""

from __future__ import annotations

from services.ingest.rules.wrong import Failed

# A step is about a microsecond. A payload of a hundred commits takes some hundred; what takes more is hostile.
MAX_STEPS_PER_RULE = 10_000
# The loop that accepts events stands still meanwhile: some 30 ms at the very worst.
MAX_STEPS_PER_EVENT = 30_000
# What it takes to begin a rule or a template, before anything in it is counted.
BEGIN_STEPS = 5


class Steps:
    """An allowance; taking more than is left ends what is being done."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        """Raises `TooMuchWork` once the allowance is used up."""
        self.left -= count
        if self.left < 0:
            raise TooMuchWork("too much work for this event: it was stopped")


class TooMuchWork(Failed):
    """An expression or a template does more than it may."""
