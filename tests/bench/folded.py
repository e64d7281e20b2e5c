"""The log that benchmarks of read models fold: of three events one is progress of a run, and one a notification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from services.persister.batch import entry_of
from shared.model.entry import Entry
from shared.model.event import Event
from shared.model.notification import TYPE as NOTIFICATION
from shared.ports.event_log import EventLog
from tests.bench import samples
from tests.bench.preload import BATCH_ENTRIES, LEASE_S

USERS, RUNS = 1000, 1000
# The stream that is read; it takes every tenth event, in place of whatever else that would be.
LONG, LONG_EVERY = "job/long", 10
READER = "reader"

Told = Callable[[int], None]


def attributes(number: int) -> dict[str, Any]:
    """The CloudEvent number `number`, 1, 2, 3…"""
    told = samples.attributes(number, f"user:{number % USERS}")
    told.pop("subject", None)
    if number % LONG_EVERY == 0:
        return told | _progress(number, LONG) | {"audience": f"user:{READER}"}
    if number % 3 == 0:
        return told | _progress(number, f"job/{number // 3 % RUNS}")
    if number % 3 == 1:
        return told | {"type": NOTIFICATION, "data": {"title": f"Build {number} passed", "body": told["data"]["text"]}}
    return told


def _progress(number: int, subject: str) -> dict[str, Any]:
    step = {f"step-{number % 5}": {"status": "running", "attempt": 1}}
    told = {"status": "running", "progress": number % 100, "message": f"part {number} of the build", "steps": step}
    return {"subject": subject, "type": "job.progressed", "data": told}


def event(number: int) -> Event:
    """The same, checked."""
    return Event.from_attributes(attributes(number))


async def fill(event_log: EventLog, last: int, told: Told = lambda _: None) -> None:
    """Puts events 1 to `last` into an empty log, each stream's in the order of its versions."""
    fence = await event_log.claim("bench", LEASE_S, force=True)
    assert fence is not None
    versions: dict[str, int] = {}
    positions = iter(range(1, last + 1))
    while some := list(islice(positions, BATCH_ENTRIES)):
        await event_log.append(fence, _entries(some, versions))
        told(some[-1])


def _entries(positions: Sequence[int], versions: dict[str, int]) -> list[Entry]:
    made = []
    for position in positions:
        one = event(position)
        if one.subject is not None:
            versions[one.subject] = versions.get(one.subject, 0) + 1
        version = versions[one.subject] if one.subject is not None else None
        made.append(entry_of(one, position, version, datetime.now(UTC)))
    return made
