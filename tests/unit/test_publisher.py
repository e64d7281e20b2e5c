"""Publishing: duplicates, creation contexts, sizes, and backends that are away. On the embedded backends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from services.ingest.lookup import PositionLookup
from services.ingest.publisher import COMPARED_AT_ONCE, Receipt
from shared.model.entry import Entry
from shared.model.errors import EventTooLarge, LogUnavailable
from shared.model.event import Event
from shared.ports.event_log import EventLog
from tests.harness.spans import recorded_spans
from tests.harness.switched import KEY, SwitchedBackends, open_switched

STRUCTURED = KEY | {"Content-Type": "application/cloudevents+json"}
ATTRIBUTES: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OWN = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture
async def backends() -> AsyncIterator[SwitchedBackends]:
    async with open_switched() as opened:
        yield opened


@pytest.fixture(autouse=True)
def spans() -> Iterator[InMemorySpanExporter]:
    with recorded_spans() as exporter:
        yield exporter


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
    backends: SwitchedBackends, spans: InMemorySpanExporter
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
    backends: SwitchedBackends, spans: InMemorySpanExporter
) -> None:
    headers = KEY | {f"ce-{name}": value for name, value in ATTRIBUTES.items()} | {"Content-Type": "application/json"}
    response = await backends.app().test_client().post("/v1/events", headers=headers, data=b"[1]")
    assert response.status_code == 202
    assert backends.published[0].data == [1]
    assert (await response.get_json())["traceparent"] == traceparent_of(by_kind(spans, SpanKind.PRODUCER))


async def test_control_tags_are_not_for_producers(backends: SwitchedBackends) -> None:
    forged = ATTRIBUTES | {"audience": "user:alice control:alice"}
    response = await backends.app().test_client().post("/v1/events", headers=STRUCTURED, data=json.dumps(forged))
    assert response.status_code == 400
    assert (await response.get_json())["field"] == "audience"
    assert backends.published == []


async def test_the_spans_say_what_happened(backends: SwitchedBackends, spans: InMemorySpanExporter) -> None:
    await backends.app().test_client().post("/v1/events", headers=STRUCTURED, data=json.dumps(ATTRIBUTES))
    assert dict(by_kind(spans, SpanKind.PRODUCER).attributes or {}) == {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "carillon.events",
        "messaging.operation.type": "send",
        "messaging.message.id": "1",
        "cloudevents.event_source": "/shop",
        "cloudevents.event_type": "order.created",
        "carillon.step": "accepted",
    }
    attributes = by_kind(spans, SpanKind.SERVER).attributes or {}
    assert (attributes["http.route"], attributes["http.response.status_code"]) == ("/v1/events", 202)


async def test_a_context_that_the_event_brought_is_kept_and_linked(
    backends: SwitchedBackends, spans: InMemorySpanExporter
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


async def test_a_duplicate_is_accepted_with_the_stored_context_and_not_published(backends: SwitchedBackends) -> None:
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
    backends: SwitchedBackends, spans: InMemorySpanExporter, away: str
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
    backends: SwitchedBackends, headers: dict[str, str], body: bytes, status: int, field: str
) -> None:
    response = await backends.app().test_client().post("/v1/events", headers=headers, data=body)
    document = await response.get_json(force=True)
    assert (response.status_code, document["field"]) == (status, field)
    assert document["fix"]
    assert backends.questions == []
    assert backends.published == []


async def test_an_event_that_grows_over_the_limit_is_refused_here_and_not_by_the_persister(
    backends: SwitchedBackends,
) -> None:
    """A 202 for what the persister would park as too large would break the first promise."""
    (outcome,) = await backends.publisher(max_event_bytes=200).publish([event(data="x" * 100)])
    assert isinstance(outcome, EventTooLarge)
    assert backends.published == []


async def test_stored_events_are_compared_a_few_at_a_time(
    backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hundred small events with the identities of large ones once had ingest hold all of these at once."""
    asked: list[int] = []
    entries = SwitchedBackends.entries

    async def counted(self: SwitchedBackends, positions: Collection[int]) -> Sequence[Entry]:
        asked.append(len(positions))
        return await entries(self, positions)

    monkeypatch.setattr(SwitchedBackends, "entries", counted)
    many = [event(id=str(number)) for number in range(COMPARED_AT_ONCE + 2)]
    for each in many[:-1]:
        await backends.append(each)
    outcomes = await backends.publisher().publish(many)
    assert [outcome.duplicate for outcome in outcomes if isinstance(outcome, Receipt)] == [True] * len(many[:-1]) + [
        False
    ]
    assert asked == [COMPARED_AT_ONCE, 1]


async def test_lookups_at_the_same_time_are_one_question(backends: SwitchedBackends) -> None:
    await backends.append(event(id="7"))
    lookup = PositionLookup(cast(EventLog, backends))
    asked = [[("/shop", str(number % 10)), ("/shop", "x")] for number in range(20)]
    answers = await asyncio.gather(*(lookup.positions(identities) for identities in asked))
    assert [answer.get(identities[0]) for answer, identities in zip(answers, asked, strict=True)] == [
        1 if number % 10 == 7 else None for number in range(20)
    ]
    assert [len(question) for question in backends.questions] == [11]


async def test_a_question_is_never_larger_than_one_query_answers(backends: SwitchedBackends) -> None:
    lookup = PositionLookup(cast(EventLog, backends))
    batches = [[("/shop", f"{batch}-{number}") for number in range(200)] for batch in range(5)]
    await asyncio.gather(*map(lookup.positions, batches))
    assert sorted(map(len, backends.questions)) == [200, 400, 400]


async def test_who_gives_up_takes_the_answer_from_nobody(backends: SwitchedBackends) -> None:
    lookup = PositionLookup(cast(EventLog, backends))
    leaving, staying = (asyncio.create_task(lookup.positions([("/shop", "1")])) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == {}


async def test_a_failed_question_fails_everyone_who_waits_and_the_next_one_is_asked_anew(
    backends: SwitchedBackends,
) -> None:
    backends.log_away = True
    backends.log_may_answer.clear()
    lookup = PositionLookup(cast(EventLog, backends))
    first = asyncio.create_task(lookup.positions([("/shop", "1")]))
    await backends.asked.wait()
    second = asyncio.create_task(lookup.positions([("/shop", "2")]))
    await asyncio.sleep(0)
    backends.log_may_answer.set()
    for failed in await asyncio.gather(first, second, return_exceptions=True):
        assert isinstance(failed, LogUnavailable)
    assert len(backends.questions) == 1
    backends.log_away = False
    assert await lookup.positions([("/shop", "1")]) == {}
