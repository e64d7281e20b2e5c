"""The writer over real embedded backends: how much it appends at once, and a log that contradicts itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.persister import writer
from services.persister.tenure import Tenure
from services.persister.writer import APPEND_MAX_BYTES, Writer
from shared.embedded import LOG_FILE, open_embedded
from shared.model.entry import Entry
from shared.model.event import Event
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog, Fence
from tests.eventually import answered, eventually


def event(number: int, size_bytes: int) -> Event:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", "data": "x" * size_bytes}
    return Event.from_attributes(attributes)


@asynccontextmanager
async def writing(broker: Broker, event_log: EventLog) -> AsyncIterator[None]:
    made = Writer(broker, event_log, Tenure(event_log, broker, "test", 60), Settings(batch_max_wait_ms=1000))
    task = asyncio.create_task(made.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_large_events_are_appended_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_embedded(None) as (broker, event_log, *_):
        sizes: list[int] = []
        append = event_log.append

        async def recorded(fence: Fence, entries: Sequence[Entry]) -> None:
            sizes.append(sum(len(entry.event) for entry in entries))
            await append(fence, entries)

        monkeypatch.setattr(event_log, "append", recorded)
        await broker.publish(*(event(number, 250_000) for number in range(50)))
        async with writing(broker, event_log):

            async def look() -> None:
                assert (await event_log.head()).last == 50

            await answered(look, AssertionError, within_s=60)
        assert len(sizes) > 1
        assert max(sizes) <= APPEND_MAX_BYTES


async def test_a_log_that_contradicts_itself_is_told_and_not_hammered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a backup that took the head before the entries, the writer planned the same batch anew without a pause."""
    pauses: list[float] = []

    def paused_s() -> float:
        pauses.append(0.01)
        return pauses[-1]

    monkeypatch.setattr(writer, "pause_s", paused_s)
    async with open_embedded(tmp_path) as (broker, event_log, *_):
        insert = "INSERT INTO entries VALUES (1, NULL, '/old', '1', 't', NULL, '', 0, NULL, NULL, 0, '{}')"
        with contextlib.closing(sqlite3.connect(tmp_path / LOG_FILE)) as other:
            other.execute(insert)
            other.commit()
        await broker.publish(event(1, 10))
        with caplog.at_level(logging.WARNING):
            async with writing(broker, event_log):
                await eventually(lambda: len(pauses) > 2, within_s=60)
    assert "the append is interrupted: log unavailable: its head and its entries contradict each other" in caplog.text
