"""One line an incident: what goes wrong twice a second is not told twice a second."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable

# For whoever looks at the log an hour later and wonders whether it is over.
TELL_AGAIN_EVERY_S = 60.0
# Of what was told lately; of the rest it is told again.
MAX_REMEMBERED = 1000


class Incident:
    """Tells when a trouble begins, once a minute while it lasts, and when it is over.

    Args:
        log: the logger of whoever has the trouble.
        what: what does not go on, such as `the append`.
    """

    def __init__(self, log: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._what, self._clock = log, what, clock
        self._began_at: float | None = None
        self._told_at = 0.0
        self._times = 0

    def trouble(self, why: object) -> None:
        """It failed, now or again."""
        now = self._clock()
        if self._began_at is None:
            self._began_at, self._told_at, self._times = now, now, 0
            self._log.warning("%s is interrupted: %s", self._what, why)
        elif now - self._told_at >= TELL_AGAIN_EVERY_S:
            self._told_at = now
            self._log.warning("%s is interrupted still: %s", self._what, why, extra=self._about(now))
        self._times += 1

    def over(self) -> None:
        """It went well; cheap where there was no trouble."""
        if self._began_at is not None:
            self._log.info("%s goes on", self._what, extra=self._about(self._clock()))
            self._began_at = None

    def _about(self, now: float) -> dict[str, object]:
        assert self._began_at is not None
        return {"failures": self._times, "seconds": round(now - self._began_at, 1)}


class Seldom:
    """When to tell of what comes from outside, as often as somebody likes: at once, then once a minute for each key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def untold(self, key: str) -> int | None:
        """How often it happened since it was told of, to tell of it now; None where that was a moment ago."""
        now = self._clock()
        told_at, untold = self._told.pop(key, (-math.inf, 0))
        if now - told_at < TELL_AGAIN_EVERY_S:
            self._told[key] = told_at, untold + 1
            return None
        self._told[key] = now, 0
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        return untold
