"""The rules in force: read again when their files change, without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from services.ingest.rules.loading import files_of, load
from services.ingest.rules.ruleset import Routing, RuleSet
from services.ingest.rules.telling import TroubleLog
from services.ingest.rules.wrong import InvalidRule
from shared.model.errors import Degraded
from shared.model.event import Event

# How often the files are looked at: a few calls of stat, cheaper than anybody's patience.
LOOK_EVERY_S = 1.0

_log = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int, int], ...]


class LiveRules:
    """The newest rules that are good. Files that are not leave the old ones in force, and `problem` says why.

    Args:
        where: as `load` takes it; None for no rules at all.

    Raises `InvalidRule` where there is nothing good to begin with.
    """

    def __init__(self, where: str | None) -> None:
        self._where = where
        self._troubles = TroubleLog()
        self._seen = self._loaded = _signature(where) if where else ()
        self.problem: str | None = None
        self.rules = load(where) if where else RuleSet()

    def route(self, event: Event) -> Routing:
        """As `RuleSet.route`; what went wrong is logged. Never raises."""
        routing = self.rules.route(event)
        for outcome in routing.matched:
            if outcome.troubles:
                self._troubles.tell(outcome, event)
        return routing

    async def probe(self) -> None:
        """For `/readyz`. Raises `Degraded` while the newest files are bad."""
        if self.problem is not None:
            raise Degraded(f"the rules as they were before are in force, for the new ones are bad: {self.problem}")

    async def look(self) -> None:
        """Loads the files once they have changed, and have stayed as they are since the last look."""
        if not self._where:
            return
        seen, before = await asyncio.to_thread(_signature, self._where), self._seen
        self._seen = seen
        # A file that is being written would be read in half, and be lawful YAML.
        if seen == before and seen != self._loaded:
            await self._load(self._where, seen)

    async def _load(self, where: str, signature: Signature) -> None:
        self._loaded = signature
        try:
            self.rules = await asyncio.to_thread(load, where)
        except InvalidRule as refused:
            self.problem = str(refused)
            _log.error("rules are bad, the old ones stay in force: %s", refused)
        else:
            self.problem = None
            _log.info("rules read again: %d", len(self.rules.rules))

    async def follow(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()


@contextlib.asynccontextmanager
async def open_rules(where: str | None) -> AsyncIterator[LiveRules]:
    """The rules, followed until the end. Raises `InvalidRule` where they are bad to begin with."""
    rules = await asyncio.to_thread(LiveRules, where)
    following = asyncio.create_task(rules.follow(), name="ingest-rules")
    following.add_done_callback(_tell_if_died)
    try:
        yield rules
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def _tell_if_died(following: asyncio.Task[None]) -> None:
    if not following.cancelled() and (died := following.exception()):
        _log.error("rules are not followed any more, and stay as they are until a restart", exc_info=died)


def _signature(where: str) -> Signature:
    """What changes when one of the files does: also when a link is set to another folder."""
    try:
        return tuple(map(_of_file, files_of(where)))
    except InvalidRule:
        return ()


def _of_file(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino
