"""Producers that show a token: a JWT that says what they may publish.

A claim of its own says that it is a producer's: `"carillon_publish": {"sources": ["/shop/*"], "types": ["order.*"],
"events_per_s": 10}`. Each part may be left out, and then limits nothing.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from shared.identity.jwts import InvalidToken, checked_times
from shared.identity.verifier import ClaimsVerifier
from shared.model.errors import InvalidInput
from shared.model.producer import ANYTHING, PUBLISH_CLAIM, Producer, checked_patterns

MAX_NAME_CHARS = 200
# Verifying a signature takes as long as all else that is done for an event.
KEPT_S = 30.0
MAX_KEPT = 1000

# No key's name holds a colon.
NAME_PREFIX = "token:"


class ProducerTokens:
    """Says which producer a token is of. A token that was verified is trusted for `KEPT_S`, and never beyond its end.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, verifier: ClaimsVerifier, clock: Callable[[], float] = time.time) -> None:
        self._verifier, self._clock = verifier, clock
        self._kept: OrderedDict[bytes, tuple[Producer, float]] = OrderedDict()

    async def producer(self, token: str) -> Producer:
        """Raises `InvalidToken`, naming the claim at fault, and `IssuerUnavailable`."""
        digest = sha256(token.encode(errors="surrogatepass")).digest()
        kept, until = self._kept.get(digest, (None, 0.0))
        if kept is not None and self._clock() < until:
            return kept
        claims = await self._verifier.claims(token)
        producer = producer_of(claims)
        self._kept[digest] = producer, min(self._clock() + KEPT_S, checked_times(claims))
        self._kept.move_to_end(digest)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return producer


def producer_of(claims: dict[str, Any]) -> Producer:
    """The producer that verified claims tell of. Pure. Raises `InvalidToken`."""
    if PUBLISH_CLAIM not in claims:
        fix = f'let its issuer add the claim "{PUBLISH_CLAIM}": {{}}'
        raise InvalidToken(PUBLISH_CLAIM, "it is missing: the token is no producer's", fix)
    scope, sub = claims[PUBLISH_CLAIM], claims.get("sub")
    if not isinstance(scope, dict):
        raise InvalidToken(PUBLISH_CLAIM, "it is no object", 'use {"sources": […], "types": […]}, or {} for anything')
    if not isinstance(sub, str) or not sub or len(sub) > MAX_NAME_CHARS:
        raise InvalidToken("sub", "it names no producer", f"give a name of at most {MAX_NAME_CHARS} characters")
    return Producer(f"{NAME_PREFIX}{sub}", _patterns(scope, "sources"), _patterns(scope, "types"), _rate(scope))


def _patterns(scope: dict[str, Any], name: str) -> tuple[str, ...]:
    try:
        return checked_patterns(f"{PUBLISH_CLAIM}.{name}", scope.get(name, ANYTHING))
    except InvalidInput as refused:
        raise InvalidToken(refused.field, refused.problem, refused.fix) from None


def _rate(scope: dict[str, Any]) -> float | None:
    rate = scope.get("events_per_s")
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1e6 or not math.isfinite(rate):
        raise InvalidToken(f"{PUBLISH_CLAIM}.events_per_s", "it is no rate", "give a number above 0, or leave it out")
    return float(rate)
