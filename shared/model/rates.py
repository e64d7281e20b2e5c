"""How fast somebody may go on. Pure but for the clock that is handed in."""

from __future__ import annotations

from collections import OrderedDict

# Who goes as fast as this for so long has used up a burst.
BURST_S = 10.0
# Buckets of those who were here last; whoever is forgotten begins with a full one.
MAX_BUCKETS = 50_000


class Rates:
    """A token bucket for each key: so many a second on average, and a burst of `BURST_S` times that."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, per_s: float, now_s: float, count: int = 1) -> float:
        """0 where the key may go on with so many; otherwise the seconds until it may.

        Who asks for more than a burst at once has it once the bucket is full, and pays it off afterwards.
        """
        burst = max(1.0, per_s * BURST_S)
        tokens, at = self._buckets.get(key, (burst, now_s))
        tokens = min(burst, tokens + max(0.0, now_s - at) * per_s)
        needed = min(float(count), burst)
        granted = tokens >= needed
        self._buckets[key] = (tokens - count if granted else tokens, now_s)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (needed - tokens) / per_s
