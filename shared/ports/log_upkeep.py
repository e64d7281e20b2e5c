"""What retention and operators do to the log's history; everybody else only reads and appends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.model.entry import Entry, Head


class LogUpkeep(Protocol):
    """Promises.

    - The floor only rises, and the entries below it go later, by `remove`: whoever waits between the
      two for as long as a read may take has no reader come upon a hole.
    - The version of a stream goes on where it was, also when all of its entries have been removed.
    - No call needs the fence: none of them touches what a writer is about to append.
    - A cancelled call may have taken effect, also in part; repeating it is safe.

    Every method raises `LogUnavailable` within a bounded time when the storage does not answer.
    """

    async def raise_floor(self, position: int) -> Head:
        """From now on the log begins above `position`, or above its last entry where that is less."""
        ...

    async def remove(self, through: int, limit: int) -> int:
        """Removes up to `limit` of the oldest entries at or below both `through` and the floor.

        Returns how many; fewer than `limit` where none is left.
        """
        ...

    async def replace(self, entries: Sequence[Entry]) -> None:
        """Stores audience and event of these entries over those at the same positions; unknown ones are ignored.

        Positions, identities and versions stay as they are.
        """
        ...

    async def removed_versions(self, after: str, limit: int) -> Mapping[str, int]:
        """Last versions of streams that have lost entries, in the order of their subjects above `after`."""
        ...

    async def restore(self, head: Head, versions: Mapping[str, int]) -> None:
        """Has an empty log take over the id and floor of `head`, and go on above its floor.

        Args:
            head: of the log that is copied; its `last` is ignored, for the entries are appended next.
            versions: the last versions of streams whose entries lie at or below the floor.

        Raises `LogNotEmpty` where there is an entry, or was one.
        """
        ...
