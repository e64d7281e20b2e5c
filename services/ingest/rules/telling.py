"""What went wrong with rules, in the log: told, and never flooding it."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

from services.ingest.rules.outcome import Outcome
from shared.model.event import Event

# A rule that fails for every event would fill the log.
TELL_EVERY_S = 60.0
# Of rules that failed lately; of the others it is told again.
MAX_REMEMBERED = 1000

_log = logging.getLogger(__name__)


class TroubleLog:
    """One line for each rule and minute, that says how often it went wrong since the last one."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def tell(self, outcome: Outcome, event: Event) -> None:
        rule, now = outcome.rule, time.monotonic()
        told_at, unsaid = self._told.pop(rule.name, (-TELL_EVERY_S, 0))
        if now - told_at < TELL_EVERY_S:
            self._told[rule.name] = told_at, unsaid + 1
            return
        self._told[rule.name] = now, 0
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        _log.warning(
            "rule %s (%s) could not be applied whole to %s %s: %s; %d tags refused; %d more events since last told",
            rule.name, rule.place, event.source, event.id, "; ".join(outcome.troubles), outcome.refused_tags, unsaid,
        )  # fmt: skip
