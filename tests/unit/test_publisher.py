"""Publishing: duplicates, creation contexts, sizes, and backends that are away. On the embedded backends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from quart import Quart

from services.ingest import reception, routes
from services.ingest.lookup import PositionLookup
from services.ingest.producers import Producers
from services.ingest.publisher import Publisher
from services.ingest.reception import Reception
from shared.embedded import open_embedded
from shared.model.entry import Entry, Identity
from shared.model.errors import BrokerUnavailable, EventTooLarge, LogUnavailable
from shared.model.event import Event
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.telemetry import tracing
from shared.web.app import make_app
from shared.web.keys import ApiKeys
from tests.eventually import eventually

KEY = {"Authorization": "Bearer key"}
STRUCTURED = KEY | {"Content-Type": "application/cloudevents+json"}
ATTRIBUTES: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OWN = "00-11111111111111111111111111111111-2222222222222222-01"


class Backends:
    """Real backends, with switches for what goes wrong."""

    def __init__(self, broker: Broker, event_log: EventLog) -> None:
        self.broker, self.event_log = broker, event_log
        self.questions: list[list[Identity]] = []
        self.published: list[Event] = []
        self.broker_away = self.log_away = False
        self.under_way = 0
        self.asked, self.log_may_answer, self.broker_may_confirm = (asyncio.Event() for _ in range(3))
        self.log_may_answer.set()
        self.broker_may_confirm.set()

    async def publish(self, event: Event) -> None:
        self.under_way += 1
        await self.broker_may_confirm.wait()
        if self.broker_away:
            raise BrokerUnavailable("refused")
        await self.broker.publish(event)
        self.published.append(event)

    async def positions(self, identities: Collection[Identity]) -> Mapping[Identity, int]:
        self.questions.append(list(identities))
        self.asked.set()
        await self.log_may_answer.wait()
        if self.log_away:
            raise LogUnavailable("refused")
        return await self.event_log.positions(identities)

    async def read(self, after: int, limit: int) -> Any:
        return await self.event_log.read(after, limit)

    async def append(self, event: Event) -> None:
        """As the persister would."""
        fence = await self.event_log.claim("test", 10, force=True)
        assert fence is not None
        now = datetime.now(UTC).replace(microsecond=0)
        what = (event.source, event.id, event.type, event.subject, event.tags, event.is_final)
        context = (event.traceparent, event.tracestate)
        entry = Entry(fence.last + 1, None, *what, *context, now, event.public_json())
        await self.event_log.append(fence, [entry])

    def app(self, max_event_bytes: int = 4096) -> Quart:
        producers = Producers(ApiKeys({"shop": "key"}, "CARILLON_PRODUCER_KEYS"))
        door = routes.blueprint(Reception(self.publisher(max_event_bytes)), producers, max_event_bytes)
        return make_app("ingest", Settings(), door, probes={})

    def publisher(self, max_event_bytes: int = 4096) -> Publisher:
        return Publisher(cast(Broker, self), cast(EventLog, self), max_event_bytes)


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    async with open_embedded(None) as (broker, event_log, *_):
        yield Backends(broker, event_log)


@pytest.fixture(autouse=True)
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        tracing.set_up("test")
    exporter = InMemorySpanExporter()
    cast(TracerProvider, trace.get_tracer_provider()).add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_exporting", True)
    yield exporter
    exporter.shutdown()


def event(**attributes: Any) -> Event:
    return Event.from_attributes(ATTRIBUTES | attributes)


def traceparent_of(span: ReadableSpan) -> str:
    context = span.context
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def by_kind(exporter: InMemorySpanExporter, kind: SpanKind) -> ReadableSpan:
    (found,) = [span for span in exporter.get_finished_spans() if span.kind is kind]
    return found


async def test_structured_is_accepted_and_published_with_its_creation_context(
    backends: Backends, spans: InMemorySpanExporter
) -> None:
    headers = STRUCTURED | {"traceparent": INCOMING, "tracestate": "vendor=1"}
    sent = ATTRIBUTES | {"data": {"a": 1}}
    response = await backends.app().test_client().post("/v1/events", headers=headers, data=json.dumps(sent))
    answer = await response.get_json()
    assert response.status_code == 202
    assert answer["accepted"] == [{"source": "/shop", "id": "1", "duplicate": False}]

    server, producer = by_kind(spans, SpanKind.SERVER), by_kind(spans, SpanKind.PRODUCER)
    assert (server.name, producer.name) == ("POST /v1/events", "publish carillon.events")
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == INCOMING.split("-")[2]
    assert producer.parent is not None
    assert server.context is not None
    assert producer.parent.span_id == server.context.span_id

    stored = json.loads(backends.published[0].to_json())
    assert stored == sent | {"traceparent": traceparent_of(producer), "tracestate": "vendor=1"}
    assert answer["traceparent"] == stored["traceparent"]
    assert answer["traceparent"].split("-")[1] == INCOMING.split("-")[1]


async def test_binary_is_accepted_and_a_trace_is_begun_where_there_is_none(
    backends: Backends, spans: InMemorySpanExporter
) -> None:
    headers = KEY | {f"ce-{name}": value for name, value in ATTRIBUTES.items()} | {"Content-Type": "application/json"}
    response = await backends.app().test_client().post("/v1/events", headers=headers, data=b"[1]")
    assert response.status_code == 202
    assert backends.published[0].data == [1]
    assert (await response.get_json())["traceparent"] == traceparent_of(by_kind(spans, SpanKind.PRODUCER))


async def test_control_tags_are_not_for_producers(backends: Backends) -> None:
    forged = ATTRIBUTES | {"audience": "user:alice control:alice"}
    response = await backends.app().test_client().post("/v1/events", headers=STRUCTURED, data=json.dumps(forged))
    assert response.status_code == 400
    assert (await response.get_json())["field"] == "audience"
    assert backends.published == []


async def test_the_spans_say_what_happened(backends: Backends, spans: InMemorySpanExporter) -> None:
    await backends.app().test_client().post("/v1/events", headers=STRUCTURED, data=json.dumps(ATTRIBUTES))
    assert dict(by_kind(spans, SpanKind.PRODUCER).attributes or {}) == {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "carillon.events",
        "messaging.operation.type": "send",
        "messaging.message.id": "1",
    }
    attributes = by_kind(spans, SpanKind.SERVER).attributes or {}
    assert (attributes["http.route"], attributes["http.response.status_code"]) == ("/v1/events", 202)


async def test_a_context_that_the_event_brought_is_kept_and_linked(
    backends: Backends, spans: InMemorySpanExporter
) -> None:
    sent = ATTRIBUTES | {"traceparent": OWN, "tracestate": "own=1"}
    headers = STRUCTURED | {"traceparent": INCOMING}
    response = await backends.app().test_client().post("/v1/events", headers=headers, data=json.dumps(sent))
    assert json.loads(backends.published[0].to_json()) == sent
    assert (await response.get_json())["traceparent"] == OWN
    producer = by_kind(spans, SpanKind.PRODUCER)
    (link,) = producer.links
    assert f"{link.context.span_id:016x}" == OWN.split("-")[2]
    assert producer.context is not None
    assert f"{producer.context.trace_id:032x}" == INCOMING.split("-")[1]


async def test_a_duplicate_is_accepted_with_the_stored_context_and_not_published(backends: Backends) -> None:
    await backends.append(event(id="0"))
    await backends.append(event(traceparent=OWN))
    response = await backends.app().test_client().post("/v1/events", headers=STRUCTURED, data=json.dumps(ATTRIBUTES))
    assert response.status_code == 202
    assert await response.get_json() == {
        "accepted": [{"source": "/shop", "id": "1", "duplicate": True}],
        "traceparent": OWN,
    }
    assert backends.published == []


@pytest.mark.parametrize("away", ["broker_away", "log_away"])
async def test_a_backend_away_is_503_with_retry_after(
    backends: Backends, spans: InMemorySpanExporter, away: str
) -> None:
    setattr(backends, away, True)
    response = await backends.app().test_client().post("/v1/events", headers=STRUCTURED, data=json.dumps(ATTRIBUTES))
    assert response.status_code == 503
    assert "Retry-After" in response.headers
    server = by_kind(spans, SpanKind.SERVER)
    assert server.status.status_code is StatusCode.ERROR
    assert (server.attributes or {})["http.response.status_code"] == 503


@pytest.mark.parametrize(
    ("headers", "body", "status", "field"),
    [
        ({}, b"{", 401, "Authorization"),
        ({"Authorization": "Bearer wrong"}, b"{", 401, "Authorization"),
        (KEY | {"Content-Type": "text/plain"}, b"x" * 5000, 413, "body"),
        (KEY | {"Content-Type": "text/plain"}, b"{", 415, "Content-Type"),
        (KEY, b"", 415, "Content-Type"),
        (STRUCTURED, b"{", 400, "body"),
        (STRUCTURED, b"[]", 400, "body"),
        (STRUCTURED, json.dumps(ATTRIBUTES | {"type": "a\nb"}).encode(), 400, "type"),
        (STRUCTURED, json.dumps(ATTRIBUTES | {"audience": "bob"}).encode(), 400, "audience"),
    ],
)
async def test_checks_come_in_their_order(
    backends: Backends, headers: dict[str, str], body: bytes, status: int, field: str
) -> None:
    response = await backends.app().test_client().post("/v1/events", headers=headers, data=body)
    document = await response.get_json(force=True)
    assert (response.status_code, document["field"]) == (status, field)
    assert document["fix"]
    assert backends.questions == []
    assert backends.published == []


async def test_an_event_that_grows_over_the_limit_is_refused_here_and_not_by_the_persister(backends: Backends) -> None:
    """A 202 for what the persister would park as too large would break the first promise."""
    with pytest.raises(EventTooLarge):
        await backends.publisher(max_event_bytes=200).publish(event(data="x" * 100))
    assert backends.published == []


async def test_over_the_bound_publishes_are_refused_at_once(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "MAX_PUBLISHES_IN_FLIGHT", 2)
    backends.broker_may_confirm.clear()
    client = backends.app().test_client()

    async def post(number: int) -> int:
        body = json.dumps(ATTRIBUTES | {"id": str(number)})
        return (await client.post("/v1/events", headers=STRUCTURED, data=body)).status_code

    waiting = [asyncio.create_task(post(number)) for number in range(2)]
    async with asyncio.timeout(5):
        await eventually(lambda: backends.under_way == 2)
        assert await post(2) == 503
        backends.broker_may_confirm.set()
        assert await asyncio.gather(*waiting) == [202, 202]
        assert await post(3) == 202


async def test_lookups_at_the_same_time_are_one_question(backends: Backends) -> None:
    await backends.append(event(id="7"))
    lookup = PositionLookup(cast(EventLog, backends))
    answers = await asyncio.gather(*(lookup.position(("/shop", str(number % 10))) for number in range(20)))
    assert answers == [1 if number % 10 == 7 else None for number in range(20)]
    assert [len(question) for question in backends.questions] == [10]


async def test_who_gives_up_takes_the_answer_from_nobody(backends: Backends) -> None:
    lookup = PositionLookup(cast(EventLog, backends))
    leaving, staying = (asyncio.create_task(lookup.position(("/shop", "1"))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is None


async def test_a_failed_question_fails_everyone_who_waits_and_the_next_one_is_asked_anew(backends: Backends) -> None:
    backends.log_away = True
    backends.log_may_answer.clear()
    lookup = PositionLookup(cast(EventLog, backends))
    first = asyncio.create_task(lookup.position(("/shop", "1")))
    await backends.asked.wait()
    second = asyncio.create_task(lookup.position(("/shop", "2")))
    await asyncio.sleep(0)
    backends.log_may_answer.set()
    for failed in await asyncio.gather(first, second, return_exceptions=True):
        assert isinstance(failed, LogUnavailable)
    assert len(backends.questions) == 1
    backends.log_away = False
    assert await lookup.position(("/shop", "1")) is None
