"""What retention has removed: streams that ask for it are told, and read models keep what they have folded."""

from __future__ import annotations

import json

import httpx

from shared.ports.event_log import DISPATCHED
from shared.ports.read_models import Stage
from tests.eventually import WITHIN_S, answered
from tests.harness.checker import Reading
from tests.harness.own_edge import OwnEdge, own_edge, served
from tests.harness.platform import FOLDED
from tests.harness.visitor import Stream

EVENTS, FLOOR = 5, 3


async def settled(own: OwnEdge) -> None:
    """Fails until everything is in the log, dispatched and folded."""
    event_log = own.backends.event_log
    assert ((await event_log.head()).last, await event_log.checkpoint(DISPATCHED)) == (EVENTS, EVENTS)
    found = [one for one in await own.backends.read_models.generations() if one.stage is Stage.CURRENT]
    assert {one.model.name: one.position for one in found} == dict.fromkeys(FOLDED, EVENTS)


async def test_a_cursor_below_the_floor_is_told_and_read_models_keep_what_they_folded() -> None:
    async with own_edge() as own:
        for number in range(EVENTS):
            data = {"title": f"number {number}", f"k{number}": number}
            await own.publish(type="notification.sent", subject="job/1", data=data)
        await answered(lambda: settled(own), AssertionError)
        event_log = own.backends.event_log
        await event_log.upkeep.raise_floor(FLOOR)
        await event_log.upkeep.remove(FLOOR, 1000)
        head = await event_log.head()
        assert (head.floor, (await event_log.read(0, 10)).entries[0].position) == (FLOOR, FLOOR + 1)

        resuming = own.bearer() | {"Last-Event-ID": f"{head.log_id}.1"}
        async with served(own) as port, httpx.AsyncClient(timeout=WITHIN_S, headers=resuming) as http:
            request = http.build_request("GET", f"http://127.0.0.1:{port}/v1/events")
            stream = Stream(await http.send(request, stream=True), Reading("late", frozenset({"user:alice"}), ""))
            await stream.until(lambda stream: stream.named("reset"))
            reset = next(frame for frame in stream.frames if frame.event == "reset")
            assert (reset.data["reason"], reset.data["cursor"]) == ("history-trimmed", reset.id)
            after = await own.publish(type="order.created")
            await stream.has(after)
            await stream.leave()

        client = own.app.test_client()
        inbox = json.loads(await (await client.get("/v1/inbox", headers=own.bearer())).get_data())
        assert [item["title"] for item in inbox["items"]] == [f"number {n}" for n in reversed(range(EVENTS))]
        run = json.loads(await (await client.get("/v1/streams/job/1", headers=own.bearer())).get_data())
        assert run["version"] == EVENTS
        assert {f"k{number}" for number in range(EVENTS)} <= run["state"].keys()
