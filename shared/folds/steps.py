"""Steps of a run, kept by id: what a patch leaves out of their times is filled in from the event's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.folds.moments import between_ms

# A workflow calls them nodes, a job steps.
NAMES = ("steps", "nodes")
RUNNING = "running"
# What filling in may add to a step: three names, two times, a number.
FILLED_BYTES = 120
# No set: what a producer calls a status may be a list, which no set can be asked for.
OVER = ("completed", "failed", "passed", "error", "cancelled", "skipped")


def fill_times(before: Mapping[str, Any], patch: Mapping[str, Any], after: Mapping[str, Any], time: str) -> None:
    """Completes, in `after`, the steps that the patch has changed.

    Args:
        before, after: the state without and with the patch, as `merge_patch` makes it: what has changed
            in `after` is its own.
        time: the event's, RFC 3339.
    """
    for name in NAMES:
        for id_, changed, step in _patched(patch.get(name), after.get(name)):
            _fill(_object(_object(before.get(name)).get(id_)), changed, step, time)


def count_of(patch: Mapping[str, Any]) -> int:
    """How many steps the patch changes at most."""
    return sum(len(_object(patch.get(name))) for name in NAMES)


def _patched(patches: Any, steps: Any) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(id, its patch, the step) of each step that was given a status."""
    for id_, changed in _object(patches).items():
        step = _object(steps).get(id_)
        if isinstance(changed, dict) and isinstance(step, dict) and "status" in changed:
            yield id_, changed, step


def _fill(before: Mapping[str, Any], changed: Mapping[str, Any], step: dict[str, Any], time: str) -> None:
    if step.get("status") == RUNNING:
        if before.get("status") in OVER:
            # Another attempt: it begins now, and the end of the one before is not its own.
            for name in {"started_at", "ended_at", "duration_ms"} - changed.keys():
                step.pop(name, None)
        step.setdefault("started_at", time)
    elif step.get("status") in OVER:
        step.setdefault("ended_at", time)
        duration_ms = between_ms(step.get("started_at"), step["ended_at"])
        if duration_ms is not None:
            step.setdefault("duration_ms", duration_ms)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
