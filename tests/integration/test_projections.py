"""A projection that cannot go on, in a persister with all others: what it tells of itself, and what goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

import httpx

from services.persister.lag import Lag
from services.persister.service import persist, probes
from shared.folds import PROJECTIONS
from shared.folds.projection import Projection
from shared.model.entry import Entry
from shared.model.read_model import Changes, Model, Reading, Table, get
from shared.ports.event_log import DISPATCHED
from shared.web.app import make_app
from tests.eventually import answered
from tests.harness.moved import gauge
from tests.harness.own_edge import OwnEdge, own_edge
from tests.harness.platform import FOLDED

FATAL = "test.fatal"


def choke(entries: Sequence[Entry]) -> Reading[Changes]:
    """Folds nothing, until it meets what it cannot take."""
    yield from get("nothing", ["at all"])
    for entry in entries:
        if entry.type == FATAL:
            raise KeyError("total")
    return {}


CHOKING = Projection(Model("choking", 1, (Table("nothing"),)), choke)


async def notify(own: OwnEdge, count: int) -> None:
    for number in range(count):
        await own.publish(type="notification.sent", data={"title": f"number {number}"})


async def test_one_that_throws_stops_alone_and_says_where() -> None:
    async with own_edge(persisting=False) as own:
        lag = Lag(own.backends, 60)
        app = make_app("persister", own.settings, probes=probes(own.backends, lag))
        persister = asyncio.create_task(persist(own.settings, own.backends, None, (*PROJECTIONS, CHOKING)))

        async def told(last: int) -> str:
            """What `/readyz` says once everybody else has come to this position."""
            await lag.look()
            assert lag.last_look is not None
            others = {name: behind.events for name, behind in lag.last_look.projections.items() if name != "choking"}
            assert (others, lag.last_look.last) == (dict.fromkeys(FOLDED, 0), last)
            assert await own.backends.event_log.checkpoint(DISPATCHED) == last
            answer = await app.test_client().get("/readyz")
            document = json.loads(await answer.get_data())
            assert (answer.status_code, document["status"]) == (httpx.codes.OK, "degraded")
            return str(document["checks"]["projections"])

        try:
            await notify(own, 2)
            fatal = await own.publish(type=FATAL)
            await notify(own, 3)
            text = await answered(lambda: told(6), AssertionError)
            assert f"projection 'choking' stopped at position 3 (/tests/harness {fatal}): KeyError: 'total'" in text
            assert gauge("carillon_projection_lag_events", projection="choking") == 4
            assert gauge("carillon_projection_stopped", projection="choking") == 1
            seconds = gauge("carillon_projection_lag_seconds", projection="choking")
            await notify(own, 1)
            await answered(lambda: told(7), AssertionError)
            assert gauge("carillon_projection_lag_events", projection="choking") == 5
            assert (gauge("carillon_projection_lag_seconds", projection="choking") or 0) > (seconds or 0)
            shown = await (await app.test_client().get("/metrics")).get_data(as_text=True)
            assert 'carillon_projection_lag_events{projection="choking"} 5.0' in shown
            inbox = await own.app.test_client().get("/v1/inbox", headers=own.bearer())
            assert len(json.loads(await inbox.get_data())["items"]) == 6, "read models go on being read"
        finally:
            persister.cancel()
            with suppress(asyncio.CancelledError):
                await persister
