"""One line an incident: loops that try again twice a second do not say so twice a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

# For whoever looks at the log an hour later and wonders whether it is over.
TELL_AGAIN_EVERY_S = 60.0


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
