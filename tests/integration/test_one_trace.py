"""One trace from the publish to the delivery, on both sets of adapters, as an exporter sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from infra.local.servers import MongoServer, RabbitServer
from services.edge.edge import Edge
from services.edge.selection import Selection
from services.edge.service import blueprints as edge_blueprints
from services.edge.sessions import Session
from services.ingest.service import open_ingest
from services.persister.service import persist
from shared.model.entry import Entry
from shared.model.settings import Settings
from shared.web.app import make_app
from shared.web.stream import asgi_body
from shared.wiring import Backends, open_backends
from tests.eventually import answered, eventually
from tests.harness.spans import recorded_spans

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    with recorded_spans() as exporter:
        yield exporter


@pytest.fixture(params=["embedded", pytest.param("rabbitmq-mongodb", marks=pytest.mark.servers)])
def settings(request: pytest.FixtureRequest) -> Settings:
    common = {"jwt_secret": "j" * 32, "session_secret": "s" * 32, "producer_keys": "test=key", "cookie_secure": False}
    if request.param == "embedded":
        return Settings.load(backends="embedded", **common)
    rabbitmq: RabbitServer = request.getfixturevalue("rabbitmq")
    mongodb: MongoServer = request.getfixturevalue("mongodb")
    name = f"trace-{uuid4().hex[:8]}"
    return Settings.load(amqp_url=rabbitmq.url, mongo_url=mongodb.url, mongo_database=name, namespace=name, **common)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Backends, Any, Edge]]:
    async with open_backends(settings) as backends, open_ingest(settings, backends) as doors:
        edge = Edge(settings, backends)
        app = make_app(
            "test",
            settings,
            *doors.blueprints,
            *edge_blueprints(edge, settings),
            probes={},
        )
        persisting = asyncio.create_task(persist(settings, backends))
        try:
            yield backends, app.test_client(), edge
        finally:
            await edge.drain()
            persisting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await persisting


async def test_one_trace_from_the_request_to_the_frame(settings: Settings, exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    async with running(settings) as (backends, client, edge):
        session = Session("alice", "sid", (), time.time(), int(time.time()) + 3600, int(time.time()) + 3600)
        connection = await edge.connect(session, Selection(), "127.0.0.1")
        stream = asgi_body(connection)
        await anext(stream)
        event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "a.b", "audience": "user:alice", "data": 1}
        headers = {
            "Authorization": "Bearer key",
            "Content-Type": "application/cloudevents+json",
            "traceparent": CALLER,
        }
        answer = await client.post("/v1/events", data=json.dumps(event), headers=headers)
        assert answer.status_code == 202
        traceparent = (await answer.get_json())["traceparent"]
        frame = await asyncio.wait_for(anext(stream), 10)
        entry = (await backends.event_log.read(0, 1)).entries[0]
        await eventually(lambda: len(spans_of(exporter)) >= 6)
        connection.end()

    shown = json.loads(frame.split(b"data: ")[1])
    assert shown == {name: value for name, value in event.items() if name != "audience"} | {"traceparent": traceparent}
    assert entry.traceparent == traceparent
    assert traceparent.split("-")[1] == CALLER_TRACE

    spans = spans_of(exporter)
    server, producer = spans["POST /v1/events"], spans["publish carillon.events"]
    assert server.kind is SpanKind.SERVER
    assert span_id_of_parent(server) == CALLER_SPAN
    assert producer.kind is SpanKind.PRODUCER
    assert span_id_of_parent(producer) == span_id(server)
    assert traceparent.split("-")[2] == span_id(producer)
    for name, kind in (("publish carillon.deliveries", SpanKind.CLIENT), ("process user.{id}", SpanKind.CONSUMER)):
        assert spans[name].kind is kind
        assert span_id_of_parent(spans[name]) == span_id(producer)
        assert trace_id(spans[name]) == CALLER_TRACE
    batch = spans["process carillon.log"]
    assert batch.parent is None
    assert [format(link.context.span_id, "016x") for link in batch.links] == [span_id(producer)]
    assert span_id_of_parent(spans["insert"]) == span_id(batch)


async def test_a_creation_context_that_the_event_brings_is_kept(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    brought = f"00-{'c' * 32}-{'d' * 16}-01"
    async with running(settings) as (backends, client, _):
        event = {"specversion": "1.0", "id": "2", "source": "/t", "type": "a.b", "traceparent": brought}
        headers = {"Authorization": "Bearer key", "Content-Type": "application/cloudevents+json", "traceparent": CALLER}
        answer = await client.post("/v1/events", data=json.dumps(event), headers=headers)
        assert (await answer.get_json())["traceparent"] == brought
        entries = await answered(lambda: first_entries(backends), AssertionError)
    assert entries[0].traceparent == brought


async def first_entries(backends: Backends) -> Sequence[Entry]:
    entries = (await backends.event_log.read(0, 1)).entries
    assert entries, "nothing was appended yet"
    return entries


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format(span.context.span_id, "016x")


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format(span.context.trace_id, "032x")


def span_id_of_parent(span: ReadableSpan) -> str | None:
    return format(span.parent.span_id, "016x") if span.parent else None
