"""What the log tells of replays: who began which, and how each ended, whatever process ran it.

All of it is one stream, so that the last of it is found however long the log is. It has no audience: nobody's
stream shows it, and no list of runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.console.acts import ACTED, SOURCE, Actor, tell_act
from shared.model.entry import Entry
from shared.model.errors import CarillonError
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog

SUBJECT = "carillon/replays"
BEGUN, STOPPED, ENDED = "replay", "replay.stop", "replay.ended"
# Acts that one look reads: a replay has two, or more where it was stopped and went on.
MAX_READ = 100

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ToldReplay:
    """One replay, as the log tells it."""

    run: str
    by: str
    begun_at: datetime
    """When it began, or went on last."""
    count: int
    wanted: Mapping[str, str] = field(default_factory=dict)
    """By what its events were chosen."""
    to: tuple[str, ...] = ()
    published: int | None = None
    """As told at its end; None where that was not told yet."""
    outcome: str = "begun"
    problem: str | None = None
    ended_at: datetime | None = None


async def tell(broker: Broker, by: Actor, action: str, about: Mapping[str, object]) -> None:
    """Says in the log what becomes of a replay."""
    await tell_act(broker, by, action, about, SUBJECT)


async def tell_end(
    broker: Broker, by: Actor, run: str, published: int, outcome: str, problem: str | None = None
) -> None:
    """Says in the log how a replay ended: `done`, `failed` or `stopped`. What cannot be told has ended all the same."""
    about = {"run": run, "published": published, "outcome": outcome} | ({"problem": problem} if problem else {})
    try:
        await tell(broker, by, ENDED, about)
    except CarillonError as failed:
        _log.warning("how the replay %s ended could not be told: %s", run, failed)


async def told_replays(log: EventLog) -> Mapping[str, ToldReplay]:
    """By run, those that began last first."""
    last = (await log.versions([SUBJECT])).get(SUBJECT, 0)
    page = await log.read_stream(SUBJECT, max(0, last - MAX_READ), MAX_READ)
    return folded(page.entries)


def folded(entries: Iterable[Entry]) -> Mapping[str, ToldReplay]:
    """What these acts say together; one that cannot be read says nothing. Pure."""
    told: dict[str, ToldReplay] = {}
    for entry in entries:
        # Whoever may publish may use the subject: what only looks like an act is left out.
        data = json.loads(entry.event).get("data") if (entry.source, entry.type) == (SOURCE, ACTED) else None
        if isinstance(data, dict) and isinstance(about := data.get("about"), dict):
            _add(told, data, about, entry.appended_at)
    return dict(reversed(told.items()))


def _add(told: dict[str, ToldReplay], data: Mapping[str, Any], about: Mapping[str, Any], at: datetime) -> None:
    run, known = str(about.get("run")), told.get(str(about.get("run")))
    if data.get("action") == BEGUN:
        told.pop(run, None)
        wanted, to = about.get("filter"), about.get("to")
        told[run] = ToldReplay(
            run, str(data.get("by")), at, _whole(about.get("count")),
            {str(name): str(value) for name, value in wanted.items()} if isinstance(wanted, dict) else {},
            tuple(map(str, to)) if isinstance(to, list) else (),
        )  # fmt: skip
    elif known is not None and data.get("action") in (STOPPED, ENDED):
        known.published, known.ended_at = _whole(about.get("published")), at
        known.outcome = str(about.get("outcome", "stopped"))
        known.problem = None if about.get("problem") is None else str(about["problem"])


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
