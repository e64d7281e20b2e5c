"""The steps of a run as its state tells them, whatever producers put there; and which wait for which. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.folds.moments import parsed
from shared.folds.steps import NAMES

# More than a screen holds, and what a workflow of hundreds of jobs has; the rest is told as a number.
MAX_STEPS = 500
# Of a step; with more, the picture is a knot.
MAX_NEEDS = 50
MAX_NAME_CHARS = 200
MAX_ERROR_CHARS = 500

LOOKS = {
    "running": "running",
    "completed": "done",
    "passed": "done",
    "failed": "failed",
    "error": "failed",
    "cancelled": "skipped",
    "skipped": "skipped",
}

Link = tuple[int, int]
"""(what is waited for, who waits), as places in the list of steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step, as far as it is told."""

    id: str
    name: str
    status: str
    needs: tuple[str, ...]
    started: datetime | None
    ended: datetime | None
    duration_ms: float | None
    attempt: int | None
    error: str | None

    @property
    def look(self) -> str:
        """`pending`, `running`, `done`, `failed` or `skipped`: how it is drawn."""
        return LOOKS.get(self.status, "pending")


@dataclass(frozen=True, slots=True)
class Span:
    """Where a step lies in the time of its run, from 0 to 1."""

    start: float
    length: float


def steps_of(state: Mapping[str, Any]) -> Sequence[Step]:
    """All steps, in the order in which the state has them."""
    told: Mapping[str, Any] = next((state[name] for name in NAMES if isinstance(state.get(name), dict)), {})
    return [_step(id_, step) for id_, step in told.items() if isinstance(step, dict)]


def links_of(steps: Sequence[Step]) -> Sequence[Link]:
    """Who waits for whom, without circles: of what waits for itself in the end, no more is kept than can be drawn."""
    places = {step.id: place for place, step in enumerate(steps)}
    asked = [
        (places[need], place)
        for place, step in enumerate(steps)
        for need in step.needs
        if need in places and places[need] != place
    ]
    rank = {place: at for at, place in enumerate(_in_order(len(steps), asked))}
    return sorted({(first, second) for first, second in asked if rank[first] < rank[second]})


def spans_of(steps: Sequence[Step], now: datetime) -> Sequence[Span | None]:
    """Where each step lies between the first begin and the last end; None for one that has not begun."""
    begun = [step.started for step in steps if step.started is not None]
    if not begun:
        return [None] * len(steps)
    first = min(begun)
    last = max(_end(step, now) for step in steps if step.started is not None)
    whole_s = max((last - first).total_seconds(), 0.001)

    def span(step: Step) -> Span | None:
        if step.started is None:
            return None
        start = (step.started - first).total_seconds() / whole_s
        return Span(start, max(0.0, (_end(step, now) - step.started).total_seconds()) / whole_s)

    return [span(step) for step in steps]


def _end(step: Step, now: datetime) -> datetime:
    assert step.started is not None
    return max(step.started, step.ended or (now if step.look == "running" else step.started))


def _in_order(count: int, links: Sequence[Link]) -> Sequence[int]:
    """Each after what it waits for; where a circle leaves none, the first of the list goes on."""
    waits = [0] * count
    followers: list[list[int]] = [[] for _ in range(count)]
    for first, second in set(links):
        waits[second] += 1
        followers[first].append(second)
    order: list[int] = []
    ready = [place for place in range(count) if waits[place] == 0]
    placed = [False] * count
    left = 0
    while len(order) < count:
        if not ready:
            while placed[left]:
                left += 1
            ready = [left]
        place = ready.pop()
        if placed[place]:
            continue
        placed[place] = True
        order.append(place)
        for follower in followers[place]:
            waits[follower] -= 1
            if waits[follower] == 0:
                ready.append(follower)
    return order


def _step(id_: str, told: Mapping[str, Any]) -> Step:
    needs, attempt = told.get("needs"), told.get("attempt")
    return Step(
        id=id_,
        name=_text(told.get("name"), MAX_NAME_CHARS) or id_[:MAX_NAME_CHARS],
        status=_text(told.get("status"), 30) or "pending",
        needs=tuple(need for need in needs if isinstance(need, str))[:MAX_NEEDS] if isinstance(needs, list) else (),
        started=parsed(told.get("started_at")),
        ended=parsed(told.get("ended_at")),
        duration_ms=_number(told.get("duration_ms")),
        attempt=int(attempt) if (attempt := _number(attempt)) is not None else None,
        error=_text(told.get("error"), MAX_ERROR_CHARS),
    )


def _text(value: Any, most: int) -> str | None:
    if value is None or value == "":
        return None
    return (value if isinstance(value, str) else str(value)[: 4 * most])[:most]


def _number(value: Any) -> float | None:
    # Beyond it, int() and drawing fail; nothing that is counted or timed comes near.
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 else None
    )
