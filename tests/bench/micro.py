"""What single steps of the hot paths cost, without any server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

from services.edge import frames
from services.persister.batch import Arrived, Known, plan_batch
from shared.model.event import Event
from shared.mongo.documents import entry_document, entry_of
from shared.rabbit.messages import entry_messages, event_message
from tests.bench import samples
from tests.bench.measure import Benchmark, Figure, Sample, best_s
from tests.bench.stage import Stage

EVENTS = 500
REPEATS = 20

_NOTHING_KNOWN = Known(0, {}, {})


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    events = [samples.event(number, f"user:{number}") for number in range(EVENTS)]
    bodies = [event.to_json() for event in events]
    arrived = [Arrived(event, body) for event, body in zip(events, bodies, strict=True)]
    now = datetime.now(UTC)
    entries = plan_batch(arrived, _NOTHING_KNOWN, now).entries
    documents = list(map(entry_document, entries))
    steps: dict[str, Callable[[], object]] = {
        "Event.from_json": lambda: list(map(Event.from_json, bodies)),
        "plan_batch": lambda: plan_batch(arrived, _NOTHING_KNOWN, now),
        "entry_document": lambda: list(map(entry_document, entries)),
        "entry_of": lambda: list(map(entry_of, documents)),
        "event_message": lambda: list(map(event_message, events)),
        "entry_messages": lambda: [list(entry_messages(entry)) for entry in entries],
        "frame": lambda: [frames.frame(entry.type, entry.event, "log.1") for entry in entries],
    }
    for _ in stage.runs():
        yield {name: best_s(step, REPEATS) / EVENTS * 1_000_000 for name, step in steps.items()}


BENCHMARK = Benchmark(
    "micro",
    f"single steps, each over {EVENTS} events, the fastest of {REPEATS} repeats",
    tuple(
        Figure(name, "µs/event")
        for name in (
            "Event.from_json",
            "plan_batch",
            "entry_document",
            "entry_of",
            "event_message",
            "entry_messages",
            "frame",
        )
    ),
    runs,
)
