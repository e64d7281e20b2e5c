"""Ingest and two edges behind the real nginx, with the configuration in infra/nginx, and no stickiness."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse

from infra.local.servers import MongoServer, RabbitServer
from services.edge.selection import MAX_HEARTBEAT_S
from services.edge.tokens import sign_token
from services.ingest.http_binding import MAX_BATCH_BYTES
from tests.eventually import WITHIN_S, answered, eventually
from tests.harness.nginx import SHIPPED, Nginx, nginx
from tests.harness.platform import PATIENT, FourServices
from tests.harness.publisher import Audiences, new_event
from tests.harness.reader import Readers

pytestmark = pytest.mark.servers

INSIDE = {"/healthz", "/readyz", "/metrics"}
OPERATOR = {"Authorization": "Bearer operator-key"}
FOREIGN_ADDRESS = "203.0.113.9"
# Many times nginx's buffers; a buffered stream would show only some of it.
EVENT_BYTES, EVENTS = 3000, 40
READERS, RATE_PER_S = 12, 60.0


class BehindNginx(FourServices):
    """Two edges and an ingest, which publishers and readers reach through nginx only."""

    proxy: Nginx

    @property
    def ingest_url(self) -> str:
        return self.proxy.url

    @property
    def edge_urls(self) -> Sequence[str]:
        return [self.proxy.url]

    @asynccontextmanager
    async def behind(self) -> AsyncIterator[BehindNginx]:
        """Puts nginx in front, for as long as the block runs."""
        urls = [edge.url for edge in self.edges]
        async with nginx(self.folder / "nginx", self.ingests[0].url, urls) as self.proxy:
            yield self

    def client(self, user: str = "alice") -> httpx.AsyncClient:
        """A client of nginx with this user's bearer token."""
        headers = {"Authorization": f"Bearer {sign_token(self.jwt_secret, user)}"}
        return httpx.AsyncClient(base_url=self.proxy.url, headers=headers, timeout=WITHIN_S, trust_env=False)


@pytest.fixture
async def platform(tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer) -> AsyncIterator[BehindNginx]:
    settings = {"operator_keys": "harness=operator-key", "heartbeat_s": 1.0, "connects_per_user_per_s": 100}
    async with BehindNginx(tmp_path, rabbitmq.url, mongodb.url, **PATIENT, **settings) as services:
        await services.start(edges=2)
        async with services.behind() as ready:
            yield ready


async def test_streams_are_not_buffered_and_headers_are_right(platform: BehindNginx) -> None:
    async with platform.client() as client, platform.publisher() as publisher:
        accepts = {"Accept-Encoding": "gzip"}
        async with aconnect_sse(client, "GET", "/v1/events", headers=accepts, params={"heartbeat": "1"}) as stream:
            frames = (frame async for frame in stream.aiter_sse() if frame.data)
            assert (await anext(frames)).event == "connected"
            for _ in range(EVENTS):
                # Each is read before the next is published.
                published = await publisher.publish("user:alice", data="x" * EVENT_BYTES)
                async with asyncio.timeout(WITHIN_S):
                    assert (await anext(frames)).json()["id"] == published.attributes["id"]
        headers = stream.response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-store, no-transform"
        assert "content-encoding" not in headers
        assert "content-length" not in headers
        await heartbeats_come_alone(client)


async def heartbeats_come_alone(client: httpx.AsyncClient) -> None:
    """A comment of three bytes passes, too."""
    async with client.stream("GET", "/v1/events") as response, asyncio.timeout(WITHIN_S):
        async for chunk in response.aiter_bytes():
            if chunk == b":\n\n":
                return


async def test_a_rolling_restart_behind_it_loses_nothing(platform: BehindNginx) -> None:
    """SIGTERM to each edge in turn, then SIGKILL to one: readers come back through nginx to whoever is there."""
    async with platform.publisher() as publisher, platform.readers() as readers:
        mix = Audiences(users=READERS)
        opened = await readers.open_all(mix.users, ["builds/0"])
        assert await by_edge(platform) == [READERS // 2] * 2
        async with publisher.load(RATE_PER_S, mix):
            for edge in platform.edges:
                edge.terminate()
                assert await edge.ended() == 0
                await all_are_back(readers)
                edge.start()
                await edge.ready()
            platform.edges[0].kill()
            await all_are_back(readers)
        await platform.keeps_its_promises(publisher, readers)
    assert all(reader.connections > 1 for reader in opened)
    assert {closing.reason for reader in opened for closing in reader.closings} <= {"drain"}
    assert {answer.status for answer in publisher.answers} == {202}


async def all_are_back(readers: Readers) -> None:
    await readers.until(lambda: all(reader.is_connected for reader in readers.all), WITHIN_S, "connected")


async def by_edge(platform: BehindNginx) -> list[int]:
    """How many streams each edge has, once all of them are known."""

    async def counts() -> list[int]:
        async with platform.client() as client:
            answer = await client.get("/v1/connections/counts", headers=OPERATOR)
        assert answer.json()["total"] == READERS
        return sorted(answer.json()["by_edge"].values())

    return await answered(counts, AssertionError, KeyError)


async def test_what_a_client_says_of_its_address_is_not_believed(platform: BehindNginx) -> None:
    claims = {name: FOREIGN_ADDRESS for name in ("X-Forwarded-For", "X-Real-IP", "Client-IP")}
    claims["Forwarded"] = f"for={FOREIGN_ADDRESS}"

    async def listed(client: httpx.AsyncClient) -> list[Any]:
        answer = await client.get("/v1/connections", headers=OPERATOR)
        assert len(answer.json()["connections"]) == 1
        return list(answer.json()["connections"])

    async with platform.client() as client, client.stream("GET", "/v1/events", headers=claims) as response:
        assert response.status_code == 200
        [connection] = await answered(lambda: listed(client), AssertionError)
    assert (connection["sub"], connection["address"]) == ("alice", "127.0.0.1")


async def test_every_route_is_reached_and_nothing_else(platform: BehindNginx) -> None:
    async with platform.client() as client:
        url = platform.proxy.url
        assert (await client.post("/v1/session", headers={"Origin": url})).status_code == 200
        foreign = await client.post("/v1/session", headers={"Origin": "http://127.0.0.1"})
        assert foreign.status_code == 403
        assert (await client.get("/v1/session")).json()["sub"] == "alice"
        assert (await client.options("/v1/events")).headers["allow"].count("GET") == 1
        for path in ("/", "/console", *INSIDE):
            assert (await client.get(path)).status_code == 404
        for role in ("ingest", "edge"):
            assert await not_passed_on(client, role) == []
        long_cookie = await client.get("/v1/session", headers={"Cookie": f"carillon={'x' * 12_000}"})
        assert (long_cookie.status_code, long_cookie.headers["content-type"]) == (401, "application/problem+json")
        await ticket_opens_one_stream(platform, client)


async def not_passed_on(client: httpx.AsyncClient, role: str) -> list[str]:
    """Addresses of the service's own description at which nginx answers itself, and not the service.

    Once it knew but those of the first days: behind it there were no webhooks, no inbox and no streams by subject.
    """
    described = (await client.get(f"/openapi/{role}.json")).json()["paths"]
    paths = [re.sub(r"\{\w+\}", "job", path) for path in described if path not in INSIDE]
    assert len(paths) > 5
    # No address takes this method; a service says so in a problem document.
    answers = [await client.patch(path) for path in paths]
    kinds = [answer.headers["content-type"] for answer in answers]
    return [path for path, kind in zip(paths, kinds, strict=True) if kind != "application/problem+json"]


async def ticket_opens_one_stream(platform: BehindNginx, client: httpx.AsyncClient) -> None:
    """Taken from one edge, good at any, once; and no log of nginx has it."""
    ticket = (await client.post("/v1/tickets")).json()["ticket"]
    async with httpx.AsyncClient(base_url=platform.proxy.url, timeout=WITHIN_S) as stranger:
        async with stranger.stream("GET", "/v1/events", params={"ticket": ticket}) as response:
            assert response.status_code == 200
        assert (await stranger.get("/v1/events", params={"ticket": ticket})).status_code == 401
    # nginx writes of a request when it is over, which the client knows before.
    await eventually(lambda: platform.proxy.access_log.count('"GET /v1/events HTTP/1.1" 401') == 1)
    assert ticket not in platform.proxy.access_log + platform.proxy.error_log


async def test_with_nobody_behind_it_the_answer_is_a_problem_document(platform: BehindNginx) -> None:
    for service in (*platform.edges, *platform.ingests):
        service.kill()
    async with platform.client() as client, asyncio.timeout(WITHIN_S):
        answers = [await client.get("/v1/events"), await client.post("/v1/session")]
        answers.append(await client.post("/v1/events", json=new_event("everyone")))
    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["status"] == 503


async def test_webhooks_batches_and_consent_go_to_ingest(platform: BehindNginx) -> None:
    key = {"Authorization": f"Bearer {platform.producer_key}"}
    async with platform.client() as client:
        consent = await client.options("/v1/events", headers={"WebHook-Request-Origin": "events.example"})
        assert consent.headers["webhook-allowed-origin"] == "events.example"
        hook = await client.post("/v1/webhooks/nobody", json={})
        assert (hook.status_code, hook.json()["field"]) == (404, "source")
        call = {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}
        assert "methods" in (await client.post("/v1/rpc", json=call, headers=key)).json()["result"]
        assert (await client.post("/v1/publish/a//b", content="Done", headers=key)).status_code == 202
        batch = key | {"Content-Type": "application/cloudevents-batch+json"}
        large = [new_event("everyone", data="x" * 200_000) for _ in range(10)]
        assert (await client.post("/v1/events", json=large, headers=batch)).status_code == 202
        too_large = await client.post("/v1/events", content=b" " * (MAX_BATCH_BYTES + 1), headers=batch)
        assert (too_large.status_code, too_large.headers["content-type"]) == (413, "application/problem+json")
        assert too_large.json()["status"] == 413


def test_quiet_streams_are_not_cut_before_their_slowest_heartbeat() -> None:
    timeouts_s = re.findall(r"^ *proxy_read_timeout (\d+)s;$", SHIPPED.read_text(), re.MULTILINE)
    assert len(timeouts_s) == 2
    assert min(map(float, timeouts_s)) > MAX_HEARTBEAT_S


def test_nginxs_own_problem_documents_are_json() -> None:
    documents = re.findall(r"return (\d+) '(.*)';", SHIPPED.read_text())
    assert {status: json.loads(document)["status"] for status, document in documents} == {"503": 503, "413": 413}
