"""Replaying events: which, for whom, and then doing it at a measured pace. For the page and for `carillon replay`."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from services.console import replay_log
from services.console.acts import Actor
from services.console.search import Wanted, last_until, moment
from shared.model.entry import EXPIRED, Entry, Head
from shared.model.errors import InvalidInput
from shared.model.replay import is_replay, replayed
from shared.model.tags import MAX_AUDIENCE_TAGS, checked_tag, is_internal
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog

# What somebody can mean at once; more is a new import, or a mistake.
MAX_REPLAYED = 10_000
# Looked at for one replay, some minutes; with more, narrow it by time.
MAX_SCANNED = 2_000_000
PAGE = 500
# Live events wait no longer than behind one batch, and a replay takes a few hundred a second.
BATCH = 50
BATCH_EVERY_S = 0.1
# Clocks of persisters that follow each other may differ.
SKEW_S = 5.0
# Tags that a plan counts one by one; of the rest it says how many they are.
MAX_COUNTED_TAGS = 1000
OURS = "carillon."

Tell = Callable[[int], None]
"""Told how far it is."""


@dataclass(slots=True)
class Plan:
    """What a replay would publish, and to whom."""

    wanted: Wanted
    to: tuple[str, ...] = ()
    """Empty for whom each event was for."""
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    positions: list[int] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    """How many events are for each tag."""
    types: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    """How many fit and are not replayed, by why."""
    others: int = 0
    """How many were for none of `to`: they go to somebody who did not see them."""
    scanned: int = 0
    span: int = 0
    """Positions to look at, in all."""
    is_cut: bool = False
    """There is more than a replay takes."""

    def check(self) -> None:
        """Raises `InvalidInput` where it cannot be run."""
        if self.is_cut:
            problem = f"more than {MAX_REPLAYED} events fit, or more than {MAX_SCANNED} would have to be looked at"
            raise InvalidInput("filter", problem, "narrow it, by time for instance")
        if not self.positions:
            raise InvalidInput("filter", "no event fits", "choose others")

    def add(self, entry: Entry, max_bytes: int) -> None:
        """Takes one that fits, or leaves it out."""
        audience = self.to or entry.audience
        if why := _why_not(entry, audience, self.run, max_bytes):
            self.left_out[why] += 1
            return
        self.positions.append(entry.position)
        self.types[entry.type] += 1
        for tag in audience:
            if tag in self.tags or len(self.tags) < MAX_COUNTED_TAGS:
                self.tags[tag] += 1
        self.others += bool(self.to) and set(self.to).isdisjoint(entry.audience)

    def told(self) -> dict[str, object]:
        """For the log, and for scripts."""
        return {
            "run": self.run,
            "filter": self.wanted.told,
            "to": list(self.to),
            "count": len(self.positions),
            "left_out": dict(self.left_out),
        }


def parsed_tags(text: str) -> tuple[str, ...]:
    """Tags with white space between them. Raises `InvalidInput`."""
    tags = tuple(dict.fromkeys(text.split()))
    if len(tags) > MAX_AUDIENCE_TAGS:
        raise InvalidInput("to", f"{len(tags)} tags", f"name at most {MAX_AUDIENCE_TAGS}")
    for tag in tags:
        checked_tag(tag)
        if is_internal(tag):
            raise InvalidInput("to", f"{tag[:60]!r} is for Carillon's own events", "name users, topics or everyone")
    return tags


async def count(log: EventLog, plan: Plan, max_bytes: int) -> None:
    """The dry run: fills the plan in, and changes nothing else. Its counts can be looked at meanwhile."""
    head = await log.head()
    after, last = await _range(log, head, plan.wanted)
    plan.span = max(0, last - after)
    begin, tags = after, [plan.wanted.tag] if plan.wanted.tag else None
    while after < last and not plan.is_cut:
        page = await log.read(after, PAGE, tags)
        if page.through <= after:
            break
        for entry in page.entries:
            if entry.position <= last and plan.wanted.fits(entry):
                plan.add(entry, max_bytes)
        after = page.through
        plan.scanned = min(after, last) - begin
        looked_at = len(plan.positions) if tags else plan.scanned
        plan.is_cut = len(plan.positions) > MAX_REPLAYED or looked_at > MAX_SCANNED
        await asyncio.sleep(0)


async def announce(broker: Broker, by: Actor, plan: Plan) -> None:
    """Tells the log who replays what. Raises `InvalidInput` where there is nothing to run."""
    plan.check()
    await replay_log.tell(broker, by, replay_log.BEGUN, plan.told())


async def publish(log: EventLog, broker: Broker, plan: Plan, tell: Tell, done: int = 0) -> None:
    """Publishes what was counted, but for the first `done`; each of a run once, however often it is begun again."""
    while done < len(plan.positions):
        some = plan.positions[done : done + BATCH]
        # What retention removed meanwhile is gone; nothing else is missing.
        entries = [entry for entry in await log.entries(some) if not _is_expired(entry)]
        await broker.publish(*(replayed(entry, plan.run, plan.to or entry.audience) for entry in entries))
        done += len(some)
        tell(done)
        await asyncio.sleep(BATCH_EVERY_S)


async def _range(log: EventLog, head: Head, wanted: Wanted) -> tuple[int, int]:
    """(the position to begin after, the last one) for the times asked for."""
    since, until = moment("since", wanted.since), moment("until", wanted.until)
    skew = timedelta(seconds=SKEW_S)
    after = head.floor if since is None else await last_until(log, since - skew, head.floor, head.last)
    last = head.last if until is None else await last_until(log, until + skew, head.floor, head.last)
    return after, last


def _why_not(entry: Entry, audience: Sequence[str], run: str, max_bytes: int) -> str | None:
    attributes: Mapping[str, object] = json.loads(entry.event)
    if entry.type.startswith(OURS) or any(map(is_internal, audience)):
        return "Carillon's own"
    if is_replay(attributes):
        return "replays themselves"
    if EXPIRED in attributes:
        return "content removed by retention"
    if not audience:
        return "for nobody"
    if len(replayed(entry, run, audience).to_json()) > max_bytes:
        return "too large with their marks"
    return None


def _is_expired(entry: Entry) -> bool:
    return EXPIRED in json.loads(entry.event)
