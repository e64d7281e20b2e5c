"""Broker or log gone or silent: open streams stay open and say nothing false, whoever asks is answered in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.local.servers import MongoServer, RabbitServer
from tests.eventually import WITHIN_S
from tests.harness.crowd import Crowd, crowd_of, keeps_its_promises
from tests.harness.platform import SETTLED_WITHIN_S, FourServices
from tests.harness.publisher import Audiences, Publisher
from tests.proxy import Proxy, proxy_before

pytestmark = pytest.mark.servers

CLIENTS, RATE_PER_S = 50, 100.0
HEARTBEAT_S = 0.5
# Long enough for heartbeats of all, and for some to find their backend away more than once.
AWAY_S = 3.0
# What an edge waits for one of its backends.
BACKEND_S = 2.0
# What one answer may take: that for the binding, and for the reading; the rest is for busy cores.
ANSWER_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Network:
    """Between the services and their backends."""

    broker: Proxy
    log: Proxy

    def proxy(self, backend: str) -> Proxy:
        return self.broker if backend == "broker" else self.log


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to an edge while a backend was away."""

    request: str
    status: int
    retry_after: str | None
    took_s: float


@pytest.fixture
async def network(rabbitmq: RabbitServer, mongodb: MongoServer) -> AsyncIterator[Network]:
    async with proxy_before(rabbitmq.port) as broker, proxy_before(mongodb.port) as log:
        yield Network(broker, log)


@asynccontextmanager
async def behind(network: Network, folder: Path) -> AsyncIterator[FourServices]:
    """A platform that reaches its backends through the proxies."""
    amqp_url = f"amqp://guest:guest@127.0.0.1:{network.broker.port}/?heartbeat=2"
    mongo_url = f"mongodb://127.0.0.1:{network.log.port}/?directConnection=true"
    async with FourServices(
        folder, amqp_url, mongo_url, heartbeat_s=HEARTBEAT_S, connects_per_user_per_s=1000
    ) as platform:
        yield await platform.start()


@pytest.mark.parametrize("how", ["gone", "silent"])
@pytest.mark.parametrize("backend", ["broker", "log"])
async def test_streams_stay_open_and_go_on_by_themselves(
    tmp_path: Path, network: Network, backend: str, how: str
) -> None:
    audiences = Audiences(CLIENTS)
    async with (
        behind(network, tmp_path) as platform,
        platform.publisher() as publisher,
        crowd_of(platform) as crowd,
    ):
        await crowd.open(audiences.users)
        async with publisher.load(RATE_PER_S, audiences):
            await crowd.until(lambda: received(crowd) > CLIENTS, SETTLED_WITHIN_S, "under way")
            async with away(network.proxy(backend), how):
                asked = await ask_around(platform, crowd)
                await hear_heartbeats(crowd)
            await goes_on(crowd, publisher)
        await keeps_its_promises(platform, publisher, crowd)

    assert [client.connections for client in crowd.all] == [1] * CLIENTS, "a stream was dropped"
    assert not any(client.closings for client in crowd.all)
    check_answers(asked, away=backend)


@asynccontextmanager
async def away(proxy: Proxy, how: str) -> AsyncIterator[None]:
    """`gone` refuses connections and resets those there are; `silent` takes all and answers nothing."""
    if how == "silent":
        proxy.freeze()
    else:
        proxy.accepts = False
        proxy.cut()
    try:
        yield
    finally:
        proxy.accepts = True
        proxy.go_on()


async def ask_around(platform: FourServices, crowd: Crowd) -> Sequence[Asked]:
    """What clients may ask of an edge, all at once and again until the time is over."""
    [edge] = platform.edges
    cookie = {"Cookie": crowd.all[0].cookie}
    resuming = cookie | {"Last-Event-ID": str(crowd.all[0].last_event_id)}
    async with httpx.AsyncClient(base_url=edge.url, timeout=4 * ANSWER_WITHIN_S, trust_env=False) as http:
        end_at = time.monotonic() + AWAY_S
        asked: list[Asked] = []
        while time.monotonic() < end_at:
            asked += await asyncio.gather(
                ask(http, "GET", "/v1/events", cookie),
                ask(http, "GET", "/v1/events", resuming),
                ask(http, "GET", "/v1/session", cookie),
                ask(http, "POST", "/v1/tickets", cookie),
                ask(http, "GET", "/readyz", {}),
                ask(http, "GET", "/healthz", {}),
            )
        return asked


async def ask(http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> Asked:
    """Up to the head of the answer: a stream has no end."""
    began = time.monotonic()
    async with http.stream(method, path, headers=headers) as answer:
        took_s = time.monotonic() - began
        return Asked(f"{method} {path}", answer.status_code, answer.headers.get("Retry-After"), took_s)


async def hear_heartbeats(crowd: Crowd) -> None:
    """A stream that says nothing new still says that it is there."""
    before = {client: client.frames for client in crowd.all}
    await crowd.until(lambda: all(client.frames >= before[client] + 2 for client in crowd.all), WITHIN_S, "heard")


async def goes_on(crowd: Crowd, publisher: Publisher) -> None:
    last = await publisher.publish("everyone")
    await crowd.received(last.attributes["id"], SETTLED_WITHIN_S)


def received(crowd: Crowd) -> int:
    return sum(len(client.ids) for client in crowd.all)


def check_answers(asked: Sequence[Asked], away: str) -> None:
    slowest = max(asked, key=lambda answer: answer.took_s)
    assert slowest.took_s < ANSWER_WITHIN_S, slowest
    # Who one is and what one may have is known by the log alone; a stream needs both.
    needs_both, needs_log = {"GET /v1/events", "GET /readyz"}, {"GET /v1/session", "POST /v1/tickets"}
    for answer in asked:
        is_unavailable = answer.request in needs_both or (answer.request in needs_log and away == "log")
        # To an edge, a log that a busy machine keeps from answering is away as well.
        is_late = answer.took_s >= BACKEND_S
        assert answer.status == (503 if is_unavailable else 200) or (answer.status == 503 and is_late), answer
        if is_unavailable and answer.request != "GET /readyz":
            assert answer.retry_after, answer
