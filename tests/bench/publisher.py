"""Confirmed publishing, as much of it at a time as the adapter keeps in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from shared.model.event import Event
from shared.ports.broker import Broker

AT_ONCE = 100


async def publish_all(broker: Broker, events: Iterable[Event]) -> None:
    """Returns when each has been confirmed."""
    waiting = iter(events)

    async def publish_some() -> None:
        for event in waiting:
            await broker.publish(event)

    await asyncio.gather(*(publish_some() for _ in range(AT_ONCE)))
