"""Retention: what the log forgets, and when. `carillon log trim` does the same by hand.

By age, the floor rises and what lies below it goes. By type, content goes and the position stays, so
that what lives longer around it is still in one gap-free order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.persister.archive import archived
from shared.folds import PROJECTIONS
from shared.model.entry import Entry, Head, expired
from shared.model.errors import FenceLost, InvalidInput, Unavailable
from shared.model.patterns import matcher
from shared.model.tags import is_internal
from shared.ports.event_log import DISPATCHED
from shared.ports.read_models import Stage
from shared.telemetry.incidents import Incident

if TYPE_CHECKING:
    from pathlib import Path

    from services.persister.tenure import Tenure
    from shared.model.settings import Settings
    from shared.ports.event_log import EventLog, Fence
    from shared.ports.read_models import Generation, ReadModels

log = logging.getLogger(__name__)

# Ages are hours and days; a minute late is nobody's loss.
ROUND_EVERY_S = 60.0
# One archive file, and one raise of the floor.
PART_ENTRIES = 100_000
# One transaction of the storage: its writer waits no longer for it than for a batch of its own.
SLICE_ENTRIES = 1000
# Of any size, read within a backend's time.
READ_ENTRIES = 200
# A reader that has asked before the floor rose is answered within the backends' own bound.
READERS_GONE_TIMEOUTS = 2

Told = Callable[[int], None]
"""Told how many entries are done since it was told last."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things are kept. Ages in seconds since the append."""

    max_age_s: float | None
    type_ages_s: Mapping[str, float]
    """By type, or pattern of types."""
    archive: Path | None
    """Where what lies below the floor is written before it goes."""

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """Raises `InvalidInput` where a session could outlive the event that revoked it."""
        if settings.retention_max_age_s is not None and settings.retention_max_age_s < settings.session_max_s:
            problem = (
                f"it is less than CARILLON_SESSION_MAX_S ({settings.session_max_s:g}): ended sessions would come back"
            )
            raise InvalidInput("CARILLON_RETENTION_MAX_AGE_S", problem, "raise it, or shorten the sessions")
        return cls(settings.retention_max_age_s, settings.retention_type_ages_s, settings.retention_archive_dir)

    @property
    def forgets_anything(self) -> bool:
        return self.max_age_s is not None or bool(self.type_ages_s)


class Retention:
    """Applies a policy while this process is the active persister.

    Args:
        followed: how far every follower of the log has come; nothing above is touched.
        wait_s: from raising the floor to removing: as long as a read may take.
    """

    def __init__(
        self, event_log: EventLog, tenure: Tenure, policy: Policy, followed: Callable[[], Awaitable[int]], wait_s: float
    ) -> None:
        self._log, self._tenure, self._policy = event_log, tenure, policy
        self._followed, self._wait_s = followed, wait_s
        self._trouble = Incident(log, "retention")

    async def run(self) -> None:
        """A round now and then, until cancelled."""
        while True:
            fence = await self._tenure.held()
            try:
                await self._round(fence, datetime.now(UTC))
                self._trouble.over()
            except FenceLost:
                self._tenure.end(fence, "another persister is active")
            except Unavailable as trouble:
                self._trouble.trouble(trouble)
            await asyncio.sleep(ROUND_EVERY_S)

    async def _round(self, fence: Fence, now: datetime) -> None:
        followed = await self._followed()
        for pattern, age_s in self._policy.type_ages_s.items():
            await self._expire(
                fence, pattern, min(followed, await last_before(self._log, now - timedelta(seconds=age_s)))
            )
        if self._policy.max_age_s is not None:
            through = min(followed, await last_before(self._log, now - timedelta(seconds=self._policy.max_age_s)))
            if removed := await trim(self._log, through, self._policy.archive, self._wait_s):
                log.info("retention removed entries", extra={"removed": removed, "floor": through})

    async def _expire(self, fence: Fence, pattern: str, through: int) -> None:
        checkpoint = f"retention {pattern}"
        after = await self._log.checkpoint(checkpoint)
        if after < through:
            count = await expire(self._log, pattern, after, through)
            await self._log.move_checkpoint(fence, checkpoint, through)
            log.info("retention expired content", extra={"types": pattern, "expired": count, "through": through})


async def followed(event_log: EventLog, models: ReadModels) -> int:
    """How far the dispatch and every projection have come: what they have not seen must not be forgotten."""
    log_id = (await event_log.head()).log_id
    dispatched = await event_log.checkpoint(DISPATCHED)
    found = [generation for generation in await models.generations() if generation.log_id == log_id]
    return min([dispatched, *(position for one in PROJECTIONS for position in _folded(one.model.name, found))])


def _folded(name: str, generations: Sequence[Generation]) -> Sequence[int]:
    """What is being built behind the current generation begins anew where the log was trimmed under it."""
    by_stage = {found.stage: found.position for found in generations if found.model.name == name}
    return [by_stage[stage] for stage in (Stage.CURRENT, Stage.BUILDING) if stage in by_stage][:1]


async def last_before(event_log: EventLog, moment: datetime) -> int:
    """The last position that was appended before `moment`; the floor where there is none."""
    head = await event_log.head()
    low, high = head.floor, head.last
    while low < high:
        middle = (low + high + 1) // 2
        page = await event_log.read(middle - 1, 1)
        if page.entries and page.entries[0].appended_at < moment:
            low = page.entries[0].position
        else:
            high = middle - 1
    return low


async def trim(
    event_log: EventLog, through: int, archive: Path | None, wait_s: float, told: Told = lambda done: None
) -> int:
    """Removes what lies at or below `through`, archived before where a folder is given; returns how many."""
    head, removed = await event_log.head(), 0
    through = min(through, head.last)
    while head.floor < through:
        part = min(through, head.floor + PART_ENTRIES)
        if archive is not None:
            await archived(archive, Head(head.log_id, part, head.floor), pages(event_log, head.floor, part))
        head = await event_log.upkeep.raise_floor(part)
        await asyncio.sleep(wait_s)
        removed += await _remove(event_log, part, told)
    # What a round that was cut short has left below the floor.
    return removed + await _remove(event_log, head.floor, told)


async def expire(
    event_log: EventLog, pattern: str, after: int, through: int, told: Told = lambda done: None, *, dry: bool = False
) -> int:
    """Removes the content of the entries of these types in (`after`, `through`]; returns how many.

    Args:
        dry: only counts them.
    """
    types, count = matcher(pattern), 0
    async for entries in pages(event_log, after, through):
        full = [entry for entry in entries if types.fullmatch(entry.type) and not _is_control(entry)]
        # What is hollow already stays as it is.
        old = [hollow for entry in full if (hollow := expired(entry)) != entry]
        if not dry:
            await event_log.upkeep.replace(old)
        count += len(old)
        told(len(entries))
    return count


def _is_control(entry: Entry) -> bool:
    """Whether edges obey it: a session that was ended stays so."""
    return any(is_internal(tag) for tag in entry.audience)


async def _remove(event_log: EventLog, through: int, told: Told) -> int:
    removed = 0
    while count := await event_log.upkeep.remove(through, SLICE_ENTRIES):
        removed += count
        told(count)
    return removed


async def pages(event_log: EventLog, after: int, through: int) -> AsyncIterator[Sequence[Entry]]:
    """The entries in (`after`, `through`], a page at a time."""
    while after < through:
        page = await event_log.read(after, min(READ_ENTRIES, through - after))
        yield [entry for entry in page.entries if entry.position <= through]
        after = page.through
