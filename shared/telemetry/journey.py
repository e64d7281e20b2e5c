"""What the steps of an event tell together. Pure; for the command and for the console."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.ports.journeys import DONE, FAILED, SKIPPED, STAGES, Step

# What happens when the event does; the rest may come hours later.
_AT_ONCE = frozenset({"accepted", "persisted", "dispatched", "delivered", "received"})


@dataclass(frozen=True, slots=True)
class Journey:
    """The steps of one event, in the order in which they began."""

    source: str
    id: str
    steps: Sequence[Step]

    @property
    def began_us(self) -> int:
        return self.steps[0].began_us

    @property
    def live_us(self) -> int:
        """How long it took until whoever was there had it: what came later was not waited for."""
        ends = [step.began_us + step.took_us for step in self.steps if _is_live(step)]
        return max(ends, default=self.began_us) - self.began_us

    @property
    def type(self) -> str | None:
        return self._told("type")

    @property
    def position(self) -> str | None:
        return self._told("position")

    @property
    def traces(self) -> Sequence[str]:
        """The traces that it is in: one, unless the event brought a context of its own."""
        return list(dict.fromkeys(step.trace for step in self.steps))

    @property
    def reached(self) -> str:
        """The last stage of its life that it came to, for anybody; `failed` where it came to none."""
        done = {step.stage for step in self.steps if step.outcome == DONE}
        return next((stage for stage in reversed(STAGES) if stage in done), FAILED)

    def of_user(self, user: str) -> Journey:
        """Without what happened for other users."""
        mine = [step for step in self.steps if step.about.get("user") in (None, user)]
        return Journey(self.source, self.id, mine)

    def _told(self, name: str) -> str | None:
        return next((step.about[name] for step in self.steps if name in step.about), None)


def journeys_of(steps: Iterable[Step]) -> list[Journey]:
    """Each event's journey, in the order in which they began."""
    by_event: dict[tuple[str, str], list[Step]] = {}
    for step in sorted(steps, key=lambda step: (step.began_us, STAGES.index(step.stage), step.span)):
        by_event.setdefault((step.source, step.id), []).append(step)
    return [Journey(source, id_, found) for (source, id_), found in by_event.items()]


def is_later(step: Step) -> bool:
    """Whether it happened at a time of its own: replayed, seen, read."""
    return not _is_live(step)


def says(step: Step) -> str:
    """What happened, in words: to whom, where, and why not."""
    about = step.about
    words = [
        f"{step.outcome}: {step.reason}" if step.outcome in (SKIPPED, FAILED) else "",
        about.get("user", ""),
        f"connection {about['connection']}" if "connection" in about else "",
        f"on {about['edge']}" if "edge" in about else "",
        "replayed" if "replayed" in about else "",
        f"and {about['others']} others" if "others" in about else "",
        f"in a batch of {about['batch']}" if about.get("batch", "1") != "1" else "",
    ]
    return "  ".join(filter(None, words))


def _is_live(step: Step) -> bool:
    return step.stage in _AT_ONCE and "replayed" not in step.about
