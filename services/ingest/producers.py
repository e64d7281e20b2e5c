"""Who may publish: found by what a request brings."""

from __future__ import annotations

from shared.model.producer import Producer
from shared.model.settings import Settings
from shared.web.keys import ApiKeys

PRODUCERS_SETTING = "CARILLON_PRODUCER_KEYS"


class Producers:
    """All that this process knows.

    Args:
        fixed: those of the settings.
    """

    def __init__(self, fixed: ApiKeys) -> None:
        self._fixed = fixed

    @classmethod
    def of(cls, settings: Settings) -> Producers:
        """Those that the settings name. Raises `InvalidInput`."""
        return cls(ApiKeys(settings.producers(), PRODUCERS_SETTING))

    async def identify(self, authorization: str | None, *, from_loopback: bool) -> Producer:
        """The producer of a request. Raises `Refusal`, 401 or 403."""
        return Producer(self._fixed.identify(authorization, from_loopback=from_loopback))

    async def rate_of(self, authorization: str | None) -> float | None:
        """The events a second that this producer may send; None where nothing limits it, or nobody is known."""
        return None
