"""A projection that cannot go on, in a persister with all others: what it tells of itself, and what goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import httpx

from services.persister.lag import Lag
from services.persister.service import persist, probes
from shared.folds import PROJECTIONS
from shared.folds.projection import Projection
from shared.model.entry import Entry
from shared.model.read_model import Changes, Model, Reading, Table, get
from shared.ports.event_log import DISPATCHED
from shared.ports.read_models import Stage
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


# Two names: a gauge sums up whoever tells it, and what an earlier test looked with may live on.
CHOKING, STUCK = (Projection(Model(name, 1, (Table("nothing"),)), choke) for name in ("choking", "stuck"))


@asynccontextmanager
async def persisting(own: OwnEdge, *projections: Projection) -> AsyncIterator[None]:
    """With a persister that has these projections."""
    persister = asyncio.create_task(persist(own.settings, own.backends, None, projections))
    try:
        yield
    finally:
        persister.cancel()
        with suppress(asyncio.CancelledError):
            await persister


async def current(own: OwnEdge, name: str) -> None:
    """Fails until this projection is built: on a log that holds what it cannot take it would not come to be."""
    found = await own.backends.read_models.generations(name)
    assert any(each.stage is Stage.CURRENT for each in found)


async def persisted(own: OwnEdge, last: int) -> None:
    assert (await own.backends.event_log.head()).last == last


async def notify(own: OwnEdge, count: int) -> None:
    for number in range(count):
        await own.publish(type="notification.sent", data={"title": f"number {number}"})


async def test_one_that_throws_stops_alone_and_says_where() -> None:
    async with own_edge(persisting=False) as own, persisting(own, *PROJECTIONS, CHOKING):
        lag = Lag(own.backends, 60)
        app = make_app("persister", own.settings, probes=probes(own.backends, lag))

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

        await answered(lambda: current(own, "choking"), AssertionError)
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


async def test_one_that_cannot_be_built_is_told_as_stopped() -> None:
    async with own_edge(persisting=False, lease_s=1) as own:
        async with persisting(own, *PROJECTIONS):
            await own.publish(type=FATAL)
            await answered(lambda: persisted(own, 1), AssertionError)
        async with persisting(own, *PROJECTIONS, STUCK):
            lag = Lag(own.backends, 60)

            async def told() -> None:
                await lag.look()
                assert gauge("carillon_projection_stopped", projection="stuck") == 1

            await answered(told, AssertionError)
            assert gauge("carillon_projection_lag_events", projection="stuck") is None, "it follows nothing yet"
