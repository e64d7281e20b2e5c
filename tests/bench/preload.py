"""Deep logs in little time: large batches, appended as any persister would."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from shared.model.cursor import Cursor
from shared.ports.event_log import EventLog
from tests.bench.samples import entry

BATCH_ENTRIES = 2000
# Longer than any preload takes: nobody else wants to write.
LEASE_S = 600.0

Audience = Callable[[int], str]
"""The audience of the entry at a position."""


async def fill(event_log: EventLog, last: int, audience: Audience) -> None:
    """Puts entries 1 to `last` into an empty log."""
    fence = await event_log.claim("bench", LEASE_S, force=True)
    assert fence is not None
    positions = iter(range(1, last + 1))
    while some := list(islice(positions, BATCH_ENTRIES)):
        await event_log.append(fence, [entry(position, audience(position)) for position in some])


async def cursor(event_log: EventLog, position: int) -> str:
    """What a client that has seen everything up to `position` would send."""
    return str(Cursor((await event_log.head()).log_id, position))
