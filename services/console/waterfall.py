"""A journey as bars to draw, and who received the event. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.ports.journeys import DONE, Step
from shared.telemetry.journey import Journey, is_later, says

# The drawing's width; a bar narrower than this could not be seen.
WIDTH = 1000
LEAST = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One step, as the page shows it."""

    step: Step
    x: float
    width: float
    """Of `WIDTH`."""
    after_us: int
    """From the journey's begin."""
    is_later: bool
    """It happened at a time of its own: its bar says nothing of when."""
    says: str


def bars(journey: Journey) -> list[Bar]:
    """Every step, in the order in which they began."""
    scale = WIDTH / max(journey.live_us, 1)
    return [_bar(step, journey.began_us, scale) for step in journey.steps]


def receivers(journey: Journey) -> Sequence[Step]:
    """Deliveries, and why not; receipts are in their user's row."""
    return [step for step in journey.steps if step.stage == "delivered"]


def receipts(journey: Journey) -> frozenset[str]:
    """The connections whose browsers said that they have it."""
    done = (step for step in journey.steps if step.stage == "received" and step.outcome == DONE)
    return frozenset(step.about.get("connection", "") for step in done)


def _bar(step: Step, began_us: int, scale: float) -> Bar:
    after_us, later = step.began_us - began_us, is_later(step)
    x = WIDTH - LEAST if later else min(after_us * scale, WIDTH - LEAST)
    width = min(max(LEAST, step.took_us * scale), WIDTH - x)
    return Bar(step, round(x, 1), round(width, 1), after_us, later, says(step))
