"""The rules in force: read again when their files change, without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from services.ingest.parts import InvalidFile
from services.ingest.reloading import Reloaded
from services.ingest.rules.loading import files_of, load
from services.ingest.rules.outcome import Outcome
from services.ingest.rules.ruleset import Routing, RuleSet
from shared.model.event import Event
from shared.telemetry import metrics
from shared.telemetry.incidents import Seldom

_log = logging.getLogger(__name__)


class LiveRules(Reloaded[RuleSet]):
    """The newest rules that are good. Files that are not leave the old ones in force, and `problem` says why.

    Args:
        where: as `load` takes it; None for no rules at all.

    Raises `InvalidFile` where there is nothing good to begin with.
    """

    def __init__(self, where: str | None) -> None:
        self._troubles = Seldom()
        if where is None:
            super().__init__("rules", RuleSet, tuple)
        else:
            super().__init__("rules", lambda: load(where), lambda: _found(where))

    @property
    def rules(self) -> RuleSet:
        """Those in force."""
        return self.value

    def route(self, event: Event) -> Routing:
        """As `RuleSet.route`; what went wrong is counted and logged. Never raises."""
        routing = self.rules.route(event)
        metrics.rules_notifications.inc(len(routing.notifications))
        for outcome in routing.matched:
            if outcome.troubles:
                metrics.rules_troubles.inc()
                metrics.rules_refused_tags.inc(outcome.refused_tags)
                self._tell_troubles(outcome, event)
        return routing

    def _tell_troubles(self, outcome: Outcome, event: Event) -> None:
        if (untold := self._troubles.untold(outcome.rule.name)) is None:
            return
        troubles = "; ".join(outcome.troubles)
        _log.warning(
            "rule %s (%s) could not be applied whole to %s %s: %s; %d tags refused; %d more events since last told",
            outcome.rule.name, outcome.rule.place, event.source, event.id, troubles, outcome.refused_tags, untold,
        )  # fmt: skip


@asynccontextmanager
async def open_rules(where: str | None) -> AsyncIterator[LiveRules]:
    """The rules, followed until the end. Raises `InvalidFile` where they are bad to begin with."""
    rules = await asyncio.to_thread(LiveRules, where)
    async with rules.following():
        yield rules


def _found(where: str) -> Iterable[Path]:
    try:
        return files_of(where)
    except InvalidFile:
        return ()
