"""Who may publish: found by what a request brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus

from services.ingest.stored_keys import StoredKeys
from services.ingest.tokens import ProducerTokens
from shared.identity.api_keys import digest_of, id_of
from shared.identity.jwts import InvalidToken
from shared.identity.verifier import ClaimsVerifier
from shared.model.errors import CarillonError
from shared.model.producer import Producer
from shared.model.settings import Settings
from shared.ports.producers import KeyRecord, ProducerStore
from shared.web.keys import ApiKeys, bearer_of
from shared.web.problem import Refusal

PRODUCERS_SETTING = "CARILLON_PRODUCER_KEYS"
_FIX = "make another key: carillon keys add"


class Producers:
    """All that this process knows: those of the settings, those of the store, and those that show a token.

    Args:
        fixed: keys of the settings.
        stored: None where there is no store.
        tokens: None where no token is taken.
        events_per_s: what a producer may publish of whom nothing else is said; None for no limit.
        now: the time, in UTC.
    """

    def __init__(
        self,
        fixed: ApiKeys,
        *,
        stored: StoredKeys | None = None,
        tokens: ProducerTokens | None = None,
        events_per_s: float | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._fixed, self._stored, self._tokens = fixed, stored, tokens
        self._events_per_s, self._now = events_per_s, now

    @classmethod
    def of(cls, settings: Settings, store: ProducerStore, fixed: ApiKeys | None = None) -> Producers:
        """Those that the settings and the store name. Raises `InvalidInput`.

        Args:
            fixed: instead of the keys of the settings.
        """
        verifier = ClaimsVerifier.of(settings)
        return cls(
            fixed or ApiKeys(settings.producers(), PRODUCERS_SETTING),
            stored=StoredKeys(store),
            tokens=ProducerTokens(verifier) if verifier.verifies_anything else None,
            events_per_s=settings.producer_events_per_s,
        )

    async def identify(self, authorization: str | None, *, from_loopback: bool) -> Producer:
        """The producer of a request.

        Raises `Refusal`: 401 without a good key or token, 403 for one that is not for here, 410 for one that
        nothing answers to any more. Raises `LogUnavailable` and `IssuerUnavailable` where it cannot be known.
        """
        producer = await self._identify(authorization, from_loopback)
        if producer.events_per_s is not None or self._events_per_s is None:
            return producer
        return replace(producer, events_per_s=self._events_per_s)

    async def rate_of(self, authorization: str | None) -> float | None:
        """The events a second that this producer may send; None where nothing limits it, or nobody is known."""
        try:
            return (await self.identify(authorization, from_loopback=False)).events_per_s
        except (Refusal, CarillonError):
            return self._events_per_s

    async def _identify(self, authorization: str | None, from_loopback: bool) -> Producer:
        text = bearer_of(authorization)
        if text is not None and self._stored is not None and id_of(text) is not None:
            if (key := await self._stored.find(digest_of(text))) is not None:
                return self._of_key(key)
        elif text is not None and self._tokens is not None and text.count(".") == 2:
            return await self._of_token(text, self._tokens)
        return Producer(self._fixed.identify(authorization, from_loopback=from_loopback))

    def _of_key(self, key: KeyRecord) -> Producer:
        if key.is_gone:
            # Senders by the specification of CloudEvents webhooks then stop for good.
            detail = f"the key {key.id} was given up, and nothing takes its events any more"
            raise Refusal(HTTPStatus.GONE, detail, field="Authorization", fix="stop sending")
        if not key.is_good(self._now()):
            how = "was revoked" if key.revoked_at else "has expired"
            raise self._fixed.refusal(f"the key {key.id} {how}; {_FIX}")
        return Producer(key.name, key.sources, key.types, key.events_per_s)

    async def _of_token(self, token: str, tokens: ProducerTokens) -> Producer:
        try:
            return await tokens.producer(token)
        except InvalidToken as refused:
            raise self._fixed.refusal(f"{refused.field}: {refused.problem}; {refused.fix}") from None
