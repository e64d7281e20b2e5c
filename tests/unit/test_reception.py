"""The reception: every door's events are held to the same. On the embedded backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.ingest.publisher import Publisher, Receipt
from services.ingest.reception import Reception, Refused, Rules
from shared.embedded import open_embedded
from shared.model.errors import InvalidEvent, OutOfScope
from shared.model.event import Event
from shared.model.producer import Producer
from shared.ports.broker import Broker
from shared.telemetry import tracing

ANYONE = Producer("shop")


@pytest.fixture(autouse=True)
def _tracing() -> None:
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        tracing.set_up("test")


@dataclass(frozen=True)
class Routing:
    audience: tuple[str, ...]
    notifications: tuple[Event, ...]


class ToldToAlice:
    """Every order is alice's business, and she is told in words."""

    def route(self, event: Event) -> Routing:
        if event.type != "order.created":
            return Routing((), ())
        said = an_event(
            id=f"{event.source} {event.id}",
            source="/carillon/rules/orders",
            type="notification.sent",
            audience="everyone",
        )
        return Routing(("user:alice", "topic:orders"), (said,))


def an_event(**attributes: Any) -> Event:
    required = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
    return Event.from_attributes(required | attributes)


@asynccontextmanager
async def open_reception(rules: Rules | None = None) -> AsyncIterator[tuple[Reception, Broker]]:
    async with open_embedded(None) as backends:
        broker, event_log = backends[0], backends[1]
        yield Reception(Publisher(broker, event_log, 4096), rules), broker


async def published(broker: Broker) -> list[Event]:
    async with broker.intake(100) as intake:
        return [Event.from_json(arrival.body) for arrival in await intake.batch(100, 0.05)]


async def test_rules_add_to_the_audience_and_speak_after_the_event() -> None:
    async with open_reception(ToldToAlice()) as (reception, broker):
        outcomes = await reception.accept([an_event(audience="user:bob user:alice")], ANYONE)
        assert [type(outcome) for outcome in outcomes] == [Receipt], "what rules said is not part of the answer"
        first, second = await published(broker)
    assert first.tags == ("user:bob", "user:alice", "topic:orders")
    assert (second.type, second.tags) == ("notification.sent", ("everyone",))


async def test_a_producer_is_held_to_its_scope_and_neighbours_are_accepted() -> None:
    producer = Producer("builds", sources=("/ci/*",), types=("build.*", "job.completed"))
    events = [
        an_event(id="1", source="/ci/7", type="build.done"),
        an_event(id="2", source="/ci/7", type="job.completed"),
        an_event(id="3", source="/shop", type="build.done"),
        an_event(id="4", source="/ci/7", type="job.completed.not"),
    ]
    async with open_reception() as (reception, broker):
        outcomes = await reception.accept(events, producer)
        assert [event.id for event in await published(broker)] == ["1", "2"]
    assert [isinstance(outcome, Receipt) for outcome in outcomes] == [True, True, False, False]
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Refused)]
    assert [error.field for error in errors if isinstance(error, OutOfScope)] == ["source", "type"]


async def test_the_catalogue_may_refuse() -> None:
    def check(event: Event) -> None:
        raise InvalidEvent("data.total", "it is missing", "see the catalogue")

    async with open_embedded(None) as backends:
        reception = Reception(Publisher(backends[0], backends[1], 4096), check=check)
        (outcome,) = await reception.accept([an_event()], ANYONE)
    assert isinstance(outcome, Refused)
    assert (outcome.source, outcome.id) == ("/shop", "1")
