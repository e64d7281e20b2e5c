"""What edges share beside the log: one-time tickets, and who is connected where."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """One open stream, as operators see it."""

    id: str
    edge: str
    """The process that serves it; its lease keeps all of its records alive."""
    sub: str
    sid: str
    opened_at: datetime
    """UTC, millisecond resolution."""
    address: str
    """The client's, as the edge saw it."""
    position: int | None = field(default=None, compare=False)
    """Up to here the client was handed all that concerns it, as its edge told last; None where it told nothing.

    Told by `renew`: `opened` does not store it.
    """


@dataclass(frozen=True, slots=True)
class Places:
    """How far the streams of one edge have come."""

    position: int
    """Every stream has come at least so far, but for those that are behind."""
    behind: Mapping[str, int] = field(default_factory=dict)
    """Positions of the others, by connection."""

    def of(self, connection: str) -> int:
        """How far this one has come."""
        return self.behind.get(connection, self.position)


class SessionStore(Protocol):
    """Promises.

    - A ticket is taken once, by whichever edge asks first, and not at all after its time.
    - A connection is listed from `opened` until `closed`, or until its edge's lease has run out.
    - An orphan (a connection whose edge's lease ran out) is handed to exactly one caller.
    - A cancelled call may have taken effect; repeating `opened`, `closed` and `renew` is safe.

    Every method raises `LogUnavailable` within a bounded time when the storage does not answer.
    """

    async def keep_ticket(self, digest: str, content: str, ttl_s: float) -> None:
        """Stores what a ticket stands for under the digest of its secret, for `ttl_s`."""
        ...

    async def take_ticket(self, digest: str) -> str | None:
        """What the ticket stands for, and forgets it; None for an unknown, used or expired one."""
        ...

    async def renew(self, edge: str, lease_s: float, places: Places | None = None) -> str:
        """Keeps the edge's connections listed for `lease_s` from now, by the storage's clock.

        `places` is what the list says of their positions from then on; None leaves it as it was.

        Returns the name of its term. Another one than before says that the lease had run out, and
        somebody took what was listed for orphans: list it again.
        """
        ...

    async def opened(self, connections: Collection[ConnectionRecord]) -> None:
        """Lists connections of an edge that has renewed its lease before."""
        ...

    async def closed(self, ids: Collection[str]) -> None:
        """Takes connections off the list; unknown ids are ignored."""
        ...

    async def connections(
        self, *, sub: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[ConnectionRecord]:
        """Listed connections in the order of their ids, after the id `after`, of one user or of all."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """Listed connections by edge; edges without any are left out."""
        ...

    async def take_orphans(self, limit: int) -> Sequence[ConnectionRecord]:
        """Removes up to `limit` connections whose edge's lease has run out, and returns them."""
        ...
