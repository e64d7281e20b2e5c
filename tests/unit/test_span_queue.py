"""Spans on their way: never waited for, bounded, and what is dropped is counted and told once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from shared.model.errors import LogUnavailable
from shared.telemetry import span_queue
from shared.telemetry.span_queue import NotSent, SpanQueue
from tests.eventually import eventually
from tests.harness.moved import moved

SPAN = ReadableSpan("span")


class Destination:
    """Takes what it is sent, unless it is told to fail or to be silent."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failure: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def send(self, spans: Sequence[ReadableSpan]) -> None:
        await self.answers.wait()
        if self.failure is not None:
            raise self.failure
        self.batches.append(len(spans))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_queue, "SEND_EVERY_S", 0.01)
    monkeypatch.setattr(span_queue, "SEND_WITHIN_S", 0.05)
    monkeypatch.setattr(span_queue, "LAST_WITHIN_S", 0.05)
    monkeypatch.setattr(span_queue, "QUEUE_MAX_SPANS", 20)
    monkeypatch.setattr(span_queue, "BATCH_MAX_SPANS", 8)


@asynccontextmanager
async def queue_to(destination: Destination) -> AsyncIterator[SpanQueue]:
    queue = SpanQueue("test", destination.send)
    running = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def end(queue: SpanQueue, count: int) -> None:
    for _ in range(count):
        queue.on_end(SPAN)


async def test_what_ends_is_sent_in_batches() -> None:
    destination = Destination()
    async with queue_to(destination) as queue, moved(spans_sent__test=19):
        end(queue, 19)
        await eventually(lambda: sum(destination.batches) == 19)
    assert destination.batches == [8, 8, 3]


async def test_a_full_batch_does_not_wait_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_queue, "SEND_EVERY_S", 60)
    destination = Destination()
    async with queue_to(destination) as queue:
        await asyncio.sleep(0)
        end(queue, 8)
        await eventually(lambda: destination.batches == [8])


async def test_a_silent_destination_costs_the_queues_room_and_no_more() -> None:
    destination = Destination()
    destination.answers.clear()
    async with queue_to(destination) as queue, moved(spans_dropped__test=1005):
        end(queue, 1000)
        assert len(queue._waiting) == span_queue.QUEUE_MAX_SPANS, "nobody waits"
        # 20 waited; a batch of 8 is given up at a time, and then comes the next.
        await eventually(lambda: len(queue._waiting) == 0)
        end(queue, 0)
        await asyncio.sleep(0)
        end(queue, 5)
        await eventually(lambda: len(queue._waiting) == 0)


@pytest.mark.parametrize("failure", [NotSent("it is away"), LogUnavailable("it is away"), ValueError("a bug")])
async def test_a_failing_destination_is_told_of_once_and_gets_what_comes_later(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    destination = Destination()
    destination.failure = failure
    async with queue_to(destination) as queue:
        with caplog.at_level(logging.WARNING):
            async with moved(spans_dropped__test=16):
                end(queue, 16)
        destination.failure = None
        async with moved(spans_sent__test=3):
            end(queue, 3)
    assert [record.message.partition(": ")[0] for record in caplog.records] == ["spans for test are dropped"]


async def test_the_last_spans_are_sent_when_the_process_ends() -> None:
    destination = Destination()
    queue = SpanQueue("test", destination.send)
    async with moved(spans_sent__test=10):
        end(queue, 10)
        await queue.finish()


async def test_a_process_that_ends_does_not_wait_for_a_silent_destination() -> None:
    destination = Destination()
    destination.answers.clear()
    queue = SpanQueue("test", destination.send)
    async with moved(spans_dropped__test=20):
        end(queue, 20)
        async with asyncio.timeout(60):
            await queue.finish()
