"""How many may connect, and how fast. Pure but for the clock that is handed in."""

from __future__ import annotations

import math

from shared.model.errors import CarillonError
from shared.model.rates import Rates


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
    """One rate for all keys."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._rates = per_s, Rates()

    def take(self, key: str, now_s: float) -> float:
        """0 where the key may go on; otherwise the seconds until it may."""
        return self._rates.take(key, self._per_s, now_s)
