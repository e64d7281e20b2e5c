"""The event log: one total order, one writer at a time, readable from any depth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.model.entry import Entry, Head, Identity, Page
from shared.ports.log_upkeep import LogUpkeep

DISPATCHED = "dispatch"
"""The checkpoint of the dispatcher: entries at or below it were handed to the feeds."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to write, until somebody claims a higher epoch."""

    epoch: int
    last: int
    """The last position at the time of the claim."""


class EventLog(Protocol):
    """Promises.

    - Positions are 1..N without gap or repeat, whoever raced; versions likewise inside a subject.
    - `append` stores all its entries or none, durably, and only while the fence holds. Without
      this a writer that was paused and woke up would write into its successor's log.
    - A (`source`, `id`) is stored once.
    - `read` returns entries in order and never skips one that was appended before the call.
    - A cancelled call may have taken effect; repeating it is safe, because `append` names its
      positions and a second one conflicts.

    Every method raises `LogUnavailable` within a bounded time when the storage does not answer.
    """

    @property
    def upkeep(self) -> LogUpkeep:
        """What removes history from this log."""
        ...

    async def head(self) -> Head:
        """Where the log begins and ends now."""
        ...

    async def claim(self, owner: str, lease_s: float, *, force: bool) -> Fence | None:
        """Takes the right to write from whoever has it, for `lease_s` seconds from now.

        None when another owner's lease still runs and `force` is False.
        """
        ...

    async def renew(self, fence: Fence, lease_s: float) -> None:
        """Extends the lease. Raises `FenceLost`."""
        ...

    async def append(self, fence: Fence, entries: Sequence[Entry]) -> None:
        """Stores the entries at their positions, which must follow the last one.

        Raises `FenceLost`, `AppendConflict`, `AppendRejected`.
        """
        ...

    async def positions(self, identities: Collection[Identity]) -> Mapping[Identity, int]:
        """Of these identities, those that the log holds, with their positions."""
        ...

    async def entries(self, positions: Collection[int]) -> Sequence[Entry]:
        """The entries at these positions, in order; those that the log does not hold are left out."""
        ...

    async def versions(self, subjects: Collection[str]) -> Mapping[str, int]:
        """Of these subjects, those that have events, with their last versions."""
        ...

    async def read(self, after: int, limit: int, tags: Collection[str] | None = None) -> Page:
        """Up to `limit` entries above `after` that any of `tags` may see; all of them for None.

        Its cost depends on what it returns, not on the size of the log.
        """
        ...

    async def read_stream(self, subject: str, after_version: int, limit: int) -> Page:
        """Up to `limit` entries of the subject above a version, in order. `Page.through` is a position, as in `read`.

        Entries below the floor may be missing; those above it are not.
        """
        ...

    async def checkpoint(self, name: str) -> int:
        """How far the follower `name` has come; 0 where it never began."""
        ...

    async def move_checkpoint(self, fence: Fence, name: str, position: int) -> None:
        """Remembers that `name` is done with everything at or below `position`. Raises `FenceLost`."""
        ...
