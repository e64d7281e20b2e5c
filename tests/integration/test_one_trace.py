"""One trace from the request to the receipt, on both sets of adapters: span trees exactly as an exporter sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from infra.local.servers import MongoServer, RabbitServer
from services.edge.edge import Edge
from services.edge.service import blueprints as edge_blueprints
from services.edge.tokens import sign_token
from services.ingest.service import open_ingest
from services.persister.service import persist
from shared.model.settings import Settings
from shared.ports.journeys import Step
from shared.telemetry.exporting import exporting
from shared.telemetry.journey import journeys_of
from shared.web.app import make_app
from shared.wiring import Backends, open_backends
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import PATIENT
from tests.harness.spans import parent_id, recorded_spans, span_id, trace_id

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"
SECRET = "j" * 32


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    with recorded_spans() as exporter:
        yield exporter


@pytest.fixture(params=["embedded", pytest.param("rabbitmq-mongodb", marks=pytest.mark.servers)])
def settings(request: pytest.FixtureRequest) -> Settings:
    common = PATIENT | {
        "jwt_secret": SECRET,
        "session_secret": "s" * 32,
        "producer_keys": "test=key",
        "cookie_secure": False,
    }
    if request.param == "embedded":
        return Settings.load(backends="embedded", **common)
    rabbitmq: RabbitServer = request.getfixturevalue("rabbitmq")
    mongodb: MongoServer = request.getfixturevalue("mongodb")
    name = f"trace-{uuid4().hex[:8]}"
    return Settings.load(amqp_url=rabbitmq.url, mongo_url=mongodb.url, mongo_database=name, namespace=name, **common)


@dataclass(frozen=True, slots=True)
class Platform:
    """Ingest, persister and edge in this process, and a client of their HTTP sides."""

    backends: Backends
    client: Any
    edge: Edge

    async def publish(self, id_: str, **attributes: Any) -> str:
        """Returns the `traceparent` of the answer."""
        event = {"specversion": "1.0", "id": id_, "source": "/t", "type": "a.b", "audience": "user:alice"} | attributes
        headers = {"Authorization": "Bearer key", "Content-Type": "application/cloudevents+json", "traceparent": CALLER}
        answer = await self.client.post("/v1/events", data=json.dumps(event), headers=headers)
        assert answer.status_code == 202
        return str((await answer.get_json())["traceparent"])

    @asynccontextmanager
    async def stream(self, user: str = "alice", *, after: str | None = None, query: str = "") -> AsyncIterator[Stream]:
        """An open stream, by its route."""
        headers = bearer(user) | ({"Last-Event-ID": after} if after else {})
        async with self.client.request(f"/v1/events{query}", headers=headers) as opened:
            await opened.send_complete()
            stream = Stream(opened)
            await stream.until("event: connected")
            yield stream
            await opened.disconnect()

    async def receive(self, user: str, *received: dict[str, Any], **body: Any) -> int:
        body = {"received": list(received)} | body
        answer = await self.client.post("/v1/receipts", json=body, headers=bearer(user))
        assert answer.status_code == 202, await answer.get_data()
        return int((await answer.get_json())["taken"])


class Stream:
    """What one stream has brought."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self._text = ""

    async def until(self, part: str) -> str:
        """All that came, once this is among it."""
        async with asyncio.timeout(WITHIN_S):
            while part not in self._text:
                self._text += (await self._opened.receive()).decode()
        return self._text

    @property
    def connection(self) -> str:
        found = re.search(r'"connection":"([^"]+)"', self._text)
        assert found
        return found[1]

    @property
    def cursor(self) -> str:
        """The last one."""
        return re.findall(r"^id: (.+)$", self._text, re.MULTILINE)[-1]


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign_token(SECRET, sub=user, tags=('topic:builds',), ttl_s=600)}"}


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Platform]:
    async with open_backends(settings) as backends, open_ingest(settings, backends) as doors:
        edge = Edge(settings, backends)
        app = make_app("test", settings, *doors.blueprints, *edge_blueprints(edge, settings), probes={})
        persisting = asyncio.create_task(persist(settings, backends))
        try:
            yield Platform(backends, app.test_client(), edge)
        finally:
            await edge.drain()
            persisting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await persisting


class Spans:
    """What has been exported, by name; where several have one, the first comes first."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    async def one(self, name: str, **attributes: Any) -> ReadableSpan:
        """The only span of that name that has these attributes among its own, once it has ended."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}

        async def look() -> ReadableSpan:
            (found,) = [span for span in self.named(name) if (span.attributes or {}).items() >= wanted.items()]
            return found

        return await answered(look, ValueError)


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


ABOUT = {
    "messaging.system": "rabbitmq", "messaging.message.id": "1", "cloudevents.event_source": "/t",
    "cloudevents.event_type": "a.b",
}  # fmt: skip


async def test_one_trace_from_the_request_to_the_receipt(settings: Settings, exporter: InMemorySpanExporter) -> None:
    spans = Spans(exporter)
    async with running(settings) as platform:
        async with platform.stream() as stream:
            traceparent = await platform.publish("1", data=1)
            shown = json.loads((await stream.until("event: a.b\n")).rpartition("data: ")[2])
            receipt = {"cursor": stream.cursor, "ago_ms": 250}
            assert await platform.receive("alice", receipt, connection=stream.connection) == 1
        opened = await spans.one("GET /v1/events")
        entry = (await platform.backends.event_log.read(0, 1)).entries[0]
        server = await spans.one("POST /v1/events")
        producer, batch = await spans.one("publish carillon.events"), await spans.one("process carillon.log")
        insert, dispatch = await spans.one("insert"), await spans.one("publish carillon.deliveries")
        delivery, receive = await spans.one("process user.{id}"), await spans.one("receive")
        edge = platform.edge.presence.edge

    assert shown["traceparent"] == entry.traceparent == traceparent
    assert traceparent.split("-")[1:3] == [CALLER_TRACE, span_id(producer)]

    # Name, kind, parent and trace of each.
    in_trace = [(span.name, span.kind, parent_id(span)) for span in (server, producer, dispatch, delivery, receive)]
    assert in_trace == [
        ("POST /v1/events", SpanKind.SERVER, CALLER_SPAN),
        ("publish carillon.events", SpanKind.PRODUCER, span_id(server)),
        ("publish carillon.deliveries", SpanKind.CLIENT, span_id(producer)),
        ("process user.{id}", SpanKind.CONSUMER, span_id(producer)),
        ("receive", SpanKind.CONSUMER, span_id(producer)),
    ]
    assert {trace_id(span) for span in (server, producer, dispatch, delivery, receive)} == {CALLER_TRACE}
    assert (batch.kind, parent_id(batch)) == (SpanKind.CONSUMER, None)
    assert (insert.kind, parent_id(insert), trace_id(insert)) == (SpanKind.CLIENT, span_id(batch), trace_id(batch))

    # Links: the batch to its event, the delivery to the request of its stream.
    ((linked, about),) = [(link.context, link.attributes) for link in batch.links]
    assert (f"{linked.trace_id:032x}", f"{linked.span_id:016x}") == (CALLER_TRACE, span_id(producer))
    assert dict(about or {}) == ABOUT | {"carillon.position": 1}
    assert [link.context.span_id for link in delivery.links] == [opened.context.span_id if opened.context else 0]
    assert [span.name for span in (server, producer, dispatch, receive, insert) if span.links] == []

    # Attributes.
    assert attributes_of(server) == {
        "http.request.method": "POST", "http.route": "/v1/events", "url.path": "/v1/events",
        "http.response.status_code": 202,
    }  # fmt: skip
    assert attributes_of(producer) == ABOUT | {
        "messaging.destination.name": "carillon.events", "messaging.operation.type": "send",
        "carillon.step": "accepted",
    }  # fmt: skip
    assert attributes_of(batch) == {
        "messaging.system": "rabbitmq", "messaging.destination.name": "carillon.log",
        "messaging.operation.type": "process", "messaging.batch.message_count": 1, "carillon.step": "persisted",
    }  # fmt: skip
    assert attributes_of(insert) == {"db.operation.name": "insert", "db.operation.batch.size": 1}
    assert attributes_of(dispatch) == ABOUT | {
        "messaging.destination.name": "carillon.deliveries", "messaging.operation.type": "send",
        "carillon.position": 1, "carillon.step": "dispatched",
    }  # fmt: skip
    at_the_edge = ABOUT | {"carillon.position": 1, "user.id": "alice", "carillon.connection": stream.connection}
    assert attributes_of(delivery) == at_the_edge | {
        "messaging.operation.type": "process", "carillon.edge": edge, "carillon.replayed": False,
        "carillon.step": "delivered",
    }  # fmt: skip
    assert attributes_of(receive) == at_the_edge | {"messaging.operation.type": "receive", "carillon.step": "received"}
    assert attributes_of(opened) == {
        "http.request.method": "GET", "http.route": "/v1/events", "http.response.status_code": 200,
        "user.id": "alice", "carillon.connection": stream.connection, "carillon.closed_because": "gone",
    }  # fmt: skip
    assert receive.start_time is not None
    assert 0.25 < time.time() - receive.start_time / 1e9 < 5 * WITHIN_S, (
        "when the browser had it, and not when it said so"
    )
    assert not [span.name for span in exporter.get_finished_spans() if not span.status.is_ok]


async def test_what_is_resumed_later_is_in_the_same_trace_and_says_so(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    spans = Spans(exporter)
    async with running(settings) as platform:
        await platform.publish("1")
        dispatch = await spans.one("publish carillon.deliveries")
        assert attributes_of(dispatch)["carillon.skipped"] == "no-one-connected"
        async with platform.stream(after="earliest") as stream:
            await stream.until("event: a.b\n")
            delivery = await spans.one("process user.{id}")
    assert attributes_of(delivery)["carillon.replayed"] is True
    assert trace_id(delivery) == CALLER_TRACE
    assert parent_id(delivery) == parent_id(dispatch)
    assert delivery.status.is_ok


async def test_what_a_stream_leaves_out_is_skipped_and_told_apart_from_a_failure(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    spans = Spans(exporter)
    async with running(settings) as platform, platform.stream(query="?types=other.*") as stream:
        await platform.publish("1")
        delivery = await spans.one("process user.{id}")
        dispatch = await spans.one("publish carillon.deliveries")
        assert stream.connection == attributes_of(delivery)["carillon.connection"]
    assert attributes_of(delivery)["carillon.skipped"] == "filtered"
    assert delivery.status.is_ok
    assert "carillon.skipped" not in attributes_of(dispatch), "a feed was bound"


async def test_a_creation_context_that_the_event_brings_is_kept(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    brought = f"00-{'c' * 32}-{'d' * 16}-01"
    spans = Spans(exporter)
    async with running(settings) as platform:
        assert await platform.publish("2", traceparent=brought) == brought
        dispatch = await spans.one("publish carillon.deliveries")
        producer = await spans.one("publish carillon.events")
        entries = (await platform.backends.event_log.read(0, 1)).entries
    assert entries[0].traceparent == brought
    assert (trace_id(dispatch), parent_id(dispatch)) == ("c" * 32, "d" * 16)
    assert [f"{link.context.span_id:016x}" for link in producer.links] == ["d" * 16]


async def test_what_the_producer_does_not_want_traced_is_not(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    async with running(settings) as platform, platform.stream() as stream:
        await platform.publish("1", traceparent=f"00-{'c' * 32}-{'d' * 16}-00")
        await stream.until("event: a.b\n")
        names = {span.name for span in exporter.get_finished_spans()}
    assert names == {"POST /v1/events", "publish carillon.events"}, "of the request's own trace, which is sampled"


async def test_what_becomes_of_each_event_in_a_batch(settings: Settings, exporter: InMemorySpanExporter) -> None:
    spans = Spans(exporter)
    async with running(settings) as platform:
        await platform.publish("1", subject="s")
        await platform.publish("2", subject="s", expectedversion=7)

        async def outcomes() -> dict[str, Any]:
            links = [link for batch in spans.named("process carillon.log") for link in batch.links]
            found = {str((link.attributes or {})["messaging.message.id"]): link.attributes or {} for link in links}
            assert found.keys() == {"1", "2"}
            return found

        found = await answered(outcomes, AssertionError)
    assert found["1"]["carillon.position"] == 1
    assert found["2"]["carillon.failed"] == "version-conflict"


async def test_receipts_tell_only_of_what_the_session_may_see(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    """Promise 4: neither that there is such an event, nor that somebody else has it, may be told or learnt."""
    spans = Spans(exporter)
    async with running(settings) as platform, platform.stream() as stream:
        await platform.publish("1")
        await stream.until("event: a.b\n")
        mine = {"cursor": stream.cursor}
        log_id = stream.cursor.partition(".")[0]
        assert await platform.receive("bob", mine) == 0
        assert await platform.receive("alice", {"cursor": f"{log_id}.99"}, {"cursor": "0000000000.1"}) == 0
        assert not spans.named("receive")
        assert await platform.receive("alice", mine, mine) == 1
        assert attributes_of(await spans.one("receive"))["user.id"] == "alice"


async def test_the_journey_of_an_event_is_kept_without_any_backend(settings: Settings) -> None:
    async with running(settings) as platform, exporting("test", settings, platform.backends.journeys):
        async with platform.stream() as stream:
            await platform.publish("1")
            await stream.until("event: a.b\n")
            await platform.receive("alice", {"cursor": stream.cursor}, connection=stream.connection)
        await platform.publish("2", audience="user:bob")

        async def kept() -> list[Step]:
            steps = [*await platform.backends.journeys.of_trace(CALLER_TRACE, limit=100)]
            assert len(steps) == 8
            return steps

        steps = await answered(kept, AssertionError)
    first, second = journeys_of(steps)
    assert [(step.stage, step.outcome, step.reason) for step in first.steps] == [
        (stage, "done", None) for stage in ("accepted", "persisted", "dispatched", "delivered", "received")
    ]
    assert (first.type, first.position, first.reached) == ("a.b", "1", "received")
    assert [step.about.get("user") for step in first.steps] == [None, None, None, "alice", "alice"]
    assert first.steps[3].about["connection"] == first.steps[4].about["connection"] == stream.connection
    assert [(step.stage, step.outcome, step.reason) for step in second.steps] == [
        ("accepted", "done", None), ("persisted", "done", None), ("dispatched", "skipped", "no-one-connected"),
    ]  # fmt: skip


async def test_what_a_user_does_in_the_inbox_belongs_to_the_journey(settings: Settings) -> None:
    async with running(settings) as platform, exporting("test", settings, platform.backends.journeys):
        await platform.publish("1", type="notification.sent", data={"title": "Built"}, audience="user:alice")
        await platform.publish("2", type="notification.sent", data={"title": "Broken"}, audience="user:alice")

        async def listed() -> list[dict[str, Any]]:
            answer = await platform.client.get("/v1/inbox", headers=bearer("alice"))
            items: list[dict[str, Any]] = (await answer.get_json())["items"]
            assert len(items) == 2
            return items

        newest, oldest = await answered(listed, AssertionError, KeyError)
        for mark, body in (("seen", {"through": await cursor_of(platform)}), ("read", {"ids": [oldest["id"]]})):
            answer = await platform.client.post(f"/v1/inbox/{mark}", json=body, headers=bearer("alice"))
            assert answer.status_code == 200
        of_first = await stages_of(platform, "1", count=5)
        of_second = await stages_of(platform, "2", count=4)
    assert newest["traceparent"].startswith(f"00-{CALLER_TRACE}")
    assert of_first[3:] == [("seen", "done", None, "alice"), ("read", "done", None, "alice")]
    assert of_second[3:] == [("seen", "done", None, "alice")]


async def test_a_muted_topic_is_skipped_for_who_has_muted_it(settings: Settings) -> None:
    async with running(settings) as platform, exporting("test", settings, platform.backends.journeys):
        for path in ("/v1/subscriptions/builds", "/v1/subscriptions/builds/mute"):

            async def chosen(path: str = path) -> None:
                # 503 while the read model is built for the first time.
                assert (await platform.client.put(path, headers=bearer("alice"))).status_code == 200

            await answered(chosen, AssertionError)
        async with platform.stream("alice") as stream:
            await platform.publish("1", type="notification.sent", data={"title": "Built"}, audience="topic:builds")
            await stream.until("event: notification.sent")
            found = await stages_of(platform, "1", count=5)
    assert set(found[3:]) == {("delivered", "done", None, "alice"), ("delivered", "skipped", "muted", "alice")}


async def cursor_of(platform: Platform) -> str:
    answer = await platform.client.get("/v1/inbox", headers=bearer("alice"))
    return str((await answer.get_json())["cursor"])


async def stages_of(platform: Platform, id_: str, count: int) -> list[tuple[str, str, str | None, str | None]]:
    """Stage, outcome, reason and user of each step, once there are so many."""

    async def kept() -> list[tuple[str, str, str | None, str | None]]:
        steps = await platform.backends.journeys.of_event(id_, limit=100)
        assert len(steps) == count
        return [(step.stage, step.outcome, step.reason, step.about.get("user")) for step in steps]

    return await answered(kept, AssertionError)
