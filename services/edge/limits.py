"""How many may connect, and how fast. Pure but for the clock that is handed in."""

from __future__ import annotations

import math
from collections import OrderedDict

from shared.model.errors import CarillonError

# Who connects as fast as this for so long has used up a burst; a page with many tabs never does.
BURST_S = 10.0
# Buckets of those who were here last; whoever is forgotten begins with a full one.
MAX_BUCKETS = 50_000


class TooMany(CarillonError):
    """A limit is reached.

    Args:
        what: the limit, in words for the client.
        retry_after_s: when it is worth to try again.
        of_server: whether the server is full (503), or this client asks for too much (429).
    """

    def __init__(self, what: str, retry_after_s: float, *, of_server: bool = False) -> None:
        super().__init__(what)
        self.what, self.retry_after_s, self.of_server = what, max(1, math.ceil(retry_after_s)), of_server


class Rate:
    """A token bucket for each key: `per_s` on average, and a burst of `BURST_S` times that."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._burst = per_s, max(1.0, per_s * BURST_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now_s: float) -> float:
        """0 where the key may go on; otherwise the seconds until it may."""
        tokens, at = self._buckets.get(key, (self._burst, now_s))
        tokens = min(self._burst, tokens + max(0.0, now_s - at) * self._per_s)
        granted = tokens >= 1
        self._buckets[key] = (tokens - 1 if granted else tokens, now_s)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self._per_s
