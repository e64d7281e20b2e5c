"""Streams by subject on the four services: from the first event to the last, while the persister is killed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.servers import MongoServer, RabbitServer
from services.edge.tokens import sign_token
from tests.eventually import answered
from tests.harness.checker import Reading
from tests.harness.platform import PATIENT, four_services
from tests.harness.publisher import Publisher
from tests.harness.visitor import Stream

pytestmark = pytest.mark.servers

SUBJECTS = [f"job/{number}" for number in range(4)]
STEPS = 12
# A persister starts meanwhile, on two busy cores.
WITHIN_S = 60.0


async def test_runs_outlive_a_persister(tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer) -> None:
    async with AsyncExitStack() as opened:
        platform = await opened.enter_async_context(four_services(tmp_path, rabbitmq.url, mongodb.url, **PATIENT))
        publisher = await opened.enter_async_context(platform.publisher())
        bearer = {"Authorization": f"Bearer {sign_token(platform.jwt_secret, 'alice', [], 600)}"}
        client = httpx.AsyncClient(base_url=platform.edge_urls[0], headers=bearer, timeout=WITHIN_S, trust_env=False)
        alice = await opened.enter_async_context(client)

        watched = [await watch(alice, subject) for subject in SUBJECTS]
        [persister] = platform.persisters
        for step in range(1, STEPS + 1):
            await asyncio.gather(*(tell(publisher, subject, step) for subject in SUBJECTS))
            if step == STEPS // 3:
                await watched[0].until(lambda stream: stream.reading.deliveries, WITHIN_S)
                persister.kill()
            if step == 2 * STEPS // 3:
                persister.start()

        for subject, stream in zip(SUBJECTS, watched, strict=True):
            assert await stream.closed(WITHIN_S) is None
            steps = [delivery.data["data"]["steps"] for delivery in stream.reading.deliveries]
            begun = stream.named("snapshot")[-1]["version"]
            assert [next(iter(each)) for each in steps] == [f"s{step}" for step in range(begun + 1, STEPS + 1)]
            assert stream.named("end") == [{"status": "completed", "version": STEPS}]
            await check_what_is_left(alice, subject, stream)
        await answered(lambda: listed(alice), AssertionError, within_s=WITHIN_S)
        await platform.folds_are_true(["streams"])


async def tell(publisher: Publisher, subject: str, step: int) -> None:
    data: dict[str, Any] = {"progress": 100 * step // STEPS, "steps": {f"s{step}": {"status": "passed"}}}
    await publisher.publish("user:alice", subject=subject, data=data | {"status": status_after(step)})


def status_after(step: int) -> str:
    return "completed" if step == STEPS else "running"


async def watch(alice: httpx.AsyncClient, subject: str, cursor: str | None = None) -> Stream:
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    request = alice.build_request("GET", f"/v1/streams/{subject}/events", headers=headers)
    stream = Stream(await alice.send(request, stream=True), Reading(subject, frozenset({"user:alice"}), ""))
    await stream.until(lambda stream: stream.named("snapshot"), WITHIN_S)
    return stream


async def check_what_is_left(alice: httpx.AsyncClient, subject: str, stream: Stream) -> None:
    """The state of an ended run: by itself, as a stream that ends at once, and never again for who has seen it."""
    document = (await alice.get(f"/v1/streams/{subject}")).json()
    assert (document["version"], document["status"], document["final"]) == (STEPS, "completed", True)
    assert set(document["state"]["steps"]) == {f"s{step}" for step in range(1, STEPS + 1)}
    again = await watch(alice, subject)
    assert await again.closed(WITHIN_S) is None
    assert again.named("snapshot")[0]["state"] == document["state"]
    seen = await alice.get(f"/v1/streams/{subject}/events", headers={"Last-Event-ID": str(stream.cursor)})
    assert seen.status_code == httpx.codes.NO_CONTENT


async def listed(alice: httpx.AsyncClient) -> None:
    page = (await alice.get("/v1/streams", params={"prefix": "job/"})).json()
    assert page["counts"] == {"completed": len(SUBJECTS)}
    assert [item["version"] for item in page["items"]] == [STEPS] * len(SUBJECTS)
