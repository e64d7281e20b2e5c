"""`carillon trace`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from services.commands.group import fail
from services.commands.options import data_option, json_option, overrides
from shared.model.settings import Settings
from shared.ports.journeys import DONE, Step
from shared.telemetry.journey import Journey, is_later, journeys_of, says
from shared.wiring.journeys_only import open_journeys

MAX_STEPS = 10_000
BAR_CHARS = 32
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


@click.command()
@click.argument("what", metavar="EVENT_ID|TRACE_ID")
@click.option("--source", help="Of this source only: ids of several may be the same.")
@click.option("--user", help="Leave out what happened for other users.")
@click.option("--limit", type=click.IntRange(1, MAX_STEPS), default=200, show_default=True, help="So many steps.")
@data_option
@json_option
def trace(what: str, source: str | None, user: str | None, limit: int, data: Path | None, as_json: bool) -> None:
    """Show what happened to an event: accepted, persisted, dispatched, delivered to whom, received, seen, read.

    \b
    carillon trace order-7 --data .carillon
    carillon trace 4bf92f3577b34da6a3ce929d0e0e4736 --json
    """
    settings = Settings.load(**overrides(data))
    steps = asyncio.run(_found(settings, what, source, limit + 1))
    if not steps:
        fail(
            f"no step of {what} is kept: it never came, or its trace was not recorded (CARILLON_TRACE_RATIO is "
            f"{settings.trace_ratio:g}), or that is over its time; see: carillon log"
        )
    journeys = journeys_of(steps[:limit])
    if user is not None:
        journeys = [journey.of_user(user) for journey in journeys]
    if as_json:
        click.echo(json.dumps([_journey_json(journey) for journey in journeys if journey.steps], ensure_ascii=False))
        return
    click.echo("\n\n".join("\n".join(waterfall(journey)) for journey in journeys if journey.steps))
    if len(steps) > limit:
        click.echo(f"\nThese are the first {limit} steps; --limit shows more.")


async def _found(settings: Settings, what: str, source: str | None, limit: int) -> list[Step]:
    """The steps of the event of that id; or of the trace, with all that happened to its events elsewhere."""
    async with open_journeys(settings) as store:
        steps = list(await store.of_event(what, source, limit=limit))
        if steps or not _TRACE_ID.fullmatch(what):
            return steps
        in_trace = await store.of_trace(what, limit=limit)
        events = dict.fromkeys((step.source, step.id) for step in in_trace)
        for event_source, id_ in events:
            steps += await store.of_event(id_, event_source, limit=limit - len(steps))
        return steps


def waterfall(journey: Journey) -> list[str]:
    """The journey as lines of text, a bar for each step."""
    head = [journey.type or "event", f"{journey.source} {journey.id}"]
    if journey.position is not None:
        head.append(f"position {journey.position}")
    rows = [_row(step, journey) for step in journey.steps]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = [_line(row, widths) for row in rows]
    return ["  ".join(head), f"trace {', '.join(journey.traces)}", "", *lines]


def _row(step: Step, journey: Journey) -> tuple[str, ...]:
    offset_us = step.began_us - journey.began_us
    when = _clock(step.began_us) if not offset_us else f"+{_duration(offset_us)}"
    return step.stage, _bar(step, journey), when, _duration(step.took_us), f"{step.service}  {says(step)}".strip()


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    stage, bar, when, took, rest = row
    cells = (stage.ljust(widths[0]), bar.ljust(BAR_CHARS), when.rjust(widths[2]), took.rjust(widths[3]), rest)
    return "  " + "  ".join(cells)


def _bar(step: Step, journey: Journey) -> str:
    """Where the step lies in the time that the event took; an arrow for what came later."""
    if is_later(step):
        return "→".rjust(BAR_CHARS)
    scale = BAR_CHARS / max(journey.live_us, 1)
    start = min(int((step.began_us - journey.began_us) * scale), BAR_CHARS - 1)
    length = max(1, round(step.took_us * scale))
    return " " * start + ("█" if step.outcome == DONE else "░") * min(length, BAR_CHARS - start)


def _clock(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]


def _duration(us: int) -> str:
    """1234 -> `1.2 ms`: two digits that matter, in a unit that people say."""
    for unit, size_us in (("d", 86_400e6), ("h", 3600e6), ("min", 60e6), ("s", 1e6)):
        if us >= size_us:
            return f"{us / size_us:.1f} {unit}"
    return f"{us / 1000:.1f} ms"


def _journey_json(journey: Journey) -> dict[str, object]:
    return {
        "source": journey.source,
        "id": journey.id,
        "type": journey.type,
        "position": None if journey.position is None else int(journey.position),
        "reached": journey.reached,
        "traces": list(journey.traces),
        "steps": [_step_json(step) for step in journey.steps],
    }


def _step_json(step: Step) -> dict[str, object]:
    began = datetime.fromtimestamp(step.began_us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"began": began, "took_ms": step.took_us / 1000} | {
        name: value for name, value in asdict(step).items() if name not in ("source", "id", "began_us", "took_us")
    }
