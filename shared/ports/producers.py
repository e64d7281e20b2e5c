"""The keys of producers: handed out by an operator, known by their digests alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.model.producer import ANYTHING


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of a producer. Times are UTC, of millisecond resolution."""

    id: str
    """A part of the key that is no secret, by which people tell keys apart."""
    digest: str
    """SHA-256 of the whole key, in hexadecimal digits."""
    name: str
    """The producer's. Several keys may have one, while a new one takes an old one's place."""
    created_at: datetime
    sources: tuple[str, ...] = ANYTHING
    types: tuple[str, ...] = ANYTHING
    """Patterns of what it may publish."""
    events_per_s: float | None = None
    """How much of it; None for what the settings say."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    is_gone: bool = False
    """Whether who still sends with it is told that there is nothing here any more, rather than to sign in."""

    def is_good(self, now: datetime) -> bool:
        """Whether it opens the door."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class ProducerStore(Protocol):
    """Promises.

    - A key that `add` returned for is found by its digest, by every process, until it is removed by hand.
    - A key that `revoke` returned for is found as revoked from then on, by every process. Nothing makes it
      good again.
    - Ids and digests are unique.

    Every method raises `LogUnavailable` within a bounded time when the storage does not answer.
    """

    async def add(self, key: KeyRecord) -> None:
        """Stores a key. Raises `KeyTaken` where its id or its digest is there already."""
        ...

    async def find(self, digest: str) -> KeyRecord | None:
        """The key of that digest, good or not; None where there is none."""
        ...

    async def revoke(self, id_: str, at: datetime, *, gone: bool = False) -> KeyRecord | None:
        """Revokes a key, and returns it as it is then; None for an unknown one.

        One that was revoked before keeps its time.
        """
        ...

    async def keys(self, *, name: str | None = None, after: str = "", limit: int = 100) -> Sequence[KeyRecord]:
        """Keys in the order of their ids, after the id `after`, of one producer or of all; good or not."""
        ...
