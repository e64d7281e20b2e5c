"""The two routings beside each other, by the number of users on an edge: where one overtakes the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tests.bench.measure import Benchmark, Figure, Sample
from tests.bench.rivals import EDGES, measured
from tests.bench.stage import Stage

USERS = (1, 10, 100, 1000, 3000)
# By the names that they have for one server.
COMPARED = {"": "everyone", ", burst": "everyone, burst", ", own": "own", ", connects": "connects"}


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    for run in stage.runs():
        sample: dict[str, float] = {}
        for users in USERS:
            stage.tell(f"run {run}: {users:,} users of one edge, with each routing")
            edge_queue, user_queues = [await measured(stage, routing, users) for routing in EDGES]
            for figure, name in COMPARED.items():
                sample[f"{users:,} users, {name}"] = edge_queue[figure] / user_queues[figure]
        yield sample


BENCHMARK = Benchmark(
    "routings",
    "edge-queue against user-queues in one run, by how many users an edge has: events to everyone, of each user's own",
    tuple(Figure(f"{users:,} users, {name}", "times") for users in USERS for name in COMPARED.values()),
    runs,
)
