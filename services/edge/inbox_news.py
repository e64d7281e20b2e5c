"""`inbox.changed`: every stream of a user is told the counts that follow from what changed."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from services.edge import frames
from services.edge.inbox import AsOf, counts_document
from shared.model.errors import Unavailable

if TYPE_CHECKING:
    from services.edge.connection import Connection
    from services.edge.fanout import Spawn
    from services.edge.inbox import Inbox
    from shared.folds.inbox_reading import Counts

log = logging.getLogger(__name__)

CHANGED = "inbox.changed"
# What changes within it is told at once. Jittered: a notification to everyone is due at every edge.
TELL_AFTER_S = 0.05
# Users counted side by side; for a notification to ten thousand the others wait their turn.
COUNTED_AT_ONCE = 3
# Until a storage that does not answer is asked again.
ASK_AGAIN_S = 1.0


class InboxNews:
    """Who is to be told, and how far the inbox must have come by then.

    Args:
        connections_of: the open streams of a user.
    """

    def __init__(self, inbox: Inbox, connections_of: Callable[[str], Iterable[Connection]], spawn: Spawn) -> None:
        self._inbox, self._connections_of, self._spawn = inbox, connections_of, spawn
        self._due: dict[str, int] = {}
        self._working = 0

    def due(self, sub: str, position: int) -> None:
        """The entry at this position may have changed the user's counts."""
        self._due[sub] = max(position, self._due.get(sub, 0))
        if self._working < COUNTED_AT_ONCE:
            self._working += 1
            self._spawn(self._work(), "edge-inbox-news")

    async def _work(self) -> None:
        try:
            await asyncio.sleep(TELL_AFTER_S * random.uniform(0.5, 1.5))
            while self._due:
                sub, position = next(iter(self._due.items()))
                del self._due[sub]
                try:
                    await self._tell(sub, position)
                except Unavailable as trouble:
                    log.info("counts wait: %s", trouble)
                    self._due[sub] = max(position, self._due.get(sub, 0))
                    await asyncio.sleep(ASK_AGAIN_S * random.uniform(0.5, 1.5))
        finally:
            self._working -= 1

    async def _tell(self, sub: str, position: int) -> None:
        """Sessions of one user may see different topics; those that see the same are counted once."""
        by_grants: dict[tuple[str, ...], list[Connection]] = {}
        for connection in self._connections_of(sub):
            by_grants.setdefault(connection.session.grants, []).append(connection)
        for alike in by_grants.values():
            frame = _frame(await self._inbox.counts(alike[0].session, position))
            for connection in alike:
                connection.tell(frame)


def _frame(counts: AsOf[Counts]) -> bytes:
    """Without an id: it is no event, and moves nobody's cursor."""
    about = {"counts": counts_document(counts.result), "cursor": counts.cursor}
    return frames.frame(CHANGED, json.dumps(about, separators=(",", ":")).encode())
