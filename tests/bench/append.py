"""How fast the persister empties a full queue into the log, and how fast the driver alone would be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import WriteConcern

from services.persister.batch import Arrived, Known, plan_batch
from shared.model.event import Event
from shared.mongo.documents import Document, entry_document
from shared.mongo.schema import HEAD_ID, HEADS, INDEXES
from shared.rabbit.broker import open_broker
from tests.bench import samples
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_least
from tests.bench.processes import cpu_s
from tests.bench.publisher import publish_all
from tests.bench.stage import Installation, Stage
from tests.bench.writer_process import writer_alone

USERS = 100
DONE_WITHIN_S = 120.0
LOOK_EVERY_S = 0.02


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    events = stage.size(40_000, 10_000)
    for run in stage.runs():
        stage.tell(f"run {run}: {events:,} events into the queue, twice")
        whole, alone = stage.installation(), stage.installation()
        for installation in (whole, alone):
            await _fill_queue(installation, events)
        stage.tell(f"run {run}: the writer by itself, the whole persister, insert_many")
        async with writer_alone(alone.env) as pid:
            writer, writer_cpu = await _append_rate(alone, events, pid)
        async with whole.started("persister") as service:
            persister, persister_cpu = await _append_rate(whole, events, service.pid)
        indexed = await _bare_rate(whole, "bare_indexed", events, indexed=True)
        bare = await _bare_rate(whole, "bare_id", events, indexed=False)
        yield {
            "writer": writer,
            "persister": persister,
            "insert_many": indexed,
            "insert_many, only _id": bare,
            "writer / insert_many": writer / indexed,
            "persister / insert_many": persister / indexed,
            "writer, processor": writer_cpu,
            "persister, processor": persister_cpu,
        }


async def _fill_queue(installation: Installation, events: int) -> None:
    async with open_broker(installation.settings) as broker:
        await publish_all(broker, map(_event, range(events)))


def _event(number: int) -> Event:
    return samples.event(number, f"user:{number % USERS}")


async def _append_rate(installation: Installation, events: int, pid: int) -> tuple[float, float]:
    """Events a second, by the log's head, from the first batch seen in it to the last; µs of processor an event."""
    settings = installation.settings
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(settings.mongo_url.get_secret_value())
    try:
        heads = client.get_database(settings.mongo_database)[HEADS]
        async with asyncio.timeout(DONE_WITHIN_S):
            began_at, before = await _until(heads, 1)
            used_s = cpu_s(pid)
            ended_at, last = await _until(heads, events)
            used_s = cpu_s(pid) - used_s
    finally:
        client.close()
    if last != events:
        raise Failed(f"{events} events were published, and the log ends at {last}")
    appended = last - before
    return appended / (ended_at - began_at), used_s / appended * 1_000_000


async def _until(heads: AsyncIOMotorCollection[Document], last: int) -> tuple[float, int]:
    while True:
        head = await heads.find_one({"_id": HEAD_ID})
        if head is not None and head["last"] >= last:
            return time.monotonic(), head["last"]
        await asyncio.sleep(LOOK_EVERY_S)


async def _bare_rate(installation: Installation, name: str, events: int, *, indexed: bool) -> float:
    """The same documents in batches of the same size, one after the other, with the same write concern."""
    settings = installation.settings
    plan = plan_batch((Arrived(_event(number), b"") for number in range(events)), Known(0, {}, {}), datetime.now(UTC))
    documents = list(map(entry_document, plan.entries))
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(settings.mongo_url.get_secret_value())
    try:
        database = client.get_database(settings.mongo_database, write_concern=WriteConcern("majority", j=True))
        collection = database[name]
        if indexed:
            await collection.create_indexes(list(INDEXES))
        return await _insert_rate(collection, documents, settings.batch_max_events)
    finally:
        client.close()


async def _insert_rate(
    collection: AsyncIOMotorCollection[Document], documents: Sequence[Document], batch: int
) -> float:
    began = time.monotonic()
    for start in range(0, len(documents), batch):
        await collection.insert_many(documents[start : start + batch], ordered=True)
    return len(documents) / (time.monotonic() - began)


BENCHMARK = Benchmark(
    "append",
    "from a full quorum queue into MongoDB, and insert_many of the same documents in the same batches beside it",
    (
        Figure("persister", "events/s", at_least(10_000)),
        Figure("persister / insert_many", "ratio", at_least(0.4)),
        Figure("writer", "events/s"),
        Figure("writer / insert_many", "ratio"),
        Figure("writer, processor", "µs/event"),
        Figure("persister, processor", "µs/event"),
        Figure("insert_many", "events/s"),
        Figure("insert_many, only _id", "events/s"),
    ),
    runs,
)
