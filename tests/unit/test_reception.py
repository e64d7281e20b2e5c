"""The reception: every door's events are held to the same. On the embedded backends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.ingest import recent
from services.ingest import reception as module
from services.ingest.publisher import Receipt
from services.ingest.reception import Reception, Refused
from shared.model.errors import (
    Abandoned,
    BrokerUnavailable,
    Busy,
    CarillonError,
    EventTooLarge,
    IdentityConflict,
    InvalidEvent,
    OutOfScope,
    Unavailable,
)
from shared.model.event import Event
from shared.model.producer import Producer
from tests.eventually import answered, eventually
from tests.harness.switched import SwitchedBackends, open_switched
from tests.harness.turns import turns_of_others

ANYONE = Producer("shop")


@dataclass(frozen=True)
class Routing:
    audience: tuple[str, ...] = ()
    notifications: tuple[Event, ...] = ()


@dataclass
class ToldToAlice:
    """Every order is alice's business, and she is told in words."""

    words: str = "An order"
    type: str = "order.created"

    def route(self, event: Event) -> Routing:
        if event.type != self.type:
            return Routing()
        said = an_event(
            id=f"{event.source} {event.id}",
            source="/carillon/rules/orders",
            type="notification.sent",
            audience="user:alice",
            data={"title": self.words},
        )
        return Routing(("user:alice", "topic:orders"), (said,))


def an_event(**attributes: Any) -> Event:
    required = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
    return Event.from_attributes(required | attributes)


@pytest.fixture
async def backends() -> AsyncIterator[SwitchedBackends]:
    async with open_switched() as opened:
        yield opened


def kinds(outcomes: list[Receipt | Refused]) -> list[type[object]]:
    """What came of each event: a receipt, or the error."""
    return [type(outcome.error) if isinstance(outcome, Refused) else Receipt for outcome in outcomes]


def duplicates(outcomes: list[Receipt | Refused]) -> list[bool | None]:
    return [outcome.duplicate if isinstance(outcome, Receipt) else None for outcome in outcomes]


# What each event is held to.


async def test_a_producer_is_held_to_its_scope_and_neighbours_are_accepted(backends: SwitchedBackends) -> None:
    producer = Producer("builds", sources=("/ci/*",), types=("build.*", "job.completed"))
    events = [
        an_event(id="1", source="/ci/7", type="build.done"),
        an_event(id="2", source="/ci/7", type="job.completed"),
        an_event(id="3", source="/shop", type="build.done"),
        an_event(id="4", source="/ci/7", type="job.completed.not"),
    ]
    outcomes = await backends.reception().accept(events, producer)
    assert kinds(outcomes) == [Receipt, Receipt, OutOfScope, OutOfScope]
    assert [outcome.error.field for outcome in outcomes[2:]] == ["source", "type"]  # type: ignore[union-attr]  # as seen
    assert [event.id for event in backends.published] == ["1", "2"]


async def test_the_catalogue_may_refuse(backends: SwitchedBackends) -> None:
    def check(event: Event) -> None:
        raise InvalidEvent("data.total", "it is missing", "see the catalogue")

    (outcome,) = await backends.reception(check=check).accept([an_event()], ANYONE)
    assert isinstance(outcome, Refused)
    assert (outcome.source, outcome.id) == ("/shop", "1")
    assert backends.published == []


async def test_what_grows_too_large_is_refused_and_its_neighbours_are_not(backends: SwitchedBackends) -> None:
    events = [an_event(id="1"), an_event(id="2", data="x" * 400), an_event(id="3")]
    outcomes = await backends.reception(max_event_bytes=300).accept(events, ANYONE)
    assert kinds(outcomes) == [Receipt, EventTooLarge, Receipt]


# Rules.


async def test_rules_add_to_the_audience_and_speak_after_the_event(backends: SwitchedBackends) -> None:
    outcomes = await backends.reception(rules=ToldToAlice()).accept(
        [an_event(audience="user:bob user:alice"), an_event(id="2", type="order.paid")], ANYONE
    )
    assert kinds(outcomes) == [Receipt, Receipt], "what rules said is not part of the answer"
    first, second, said = backends.published
    assert first.tags == ("user:bob", "user:alice", "topic:orders")
    assert second.tags == ()
    assert (said.type, said.tags) == ("notification.sent", ("user:alice",))


async def test_what_rules_say_is_published_before_the_answer_or_the_answer_is_503(backends: SwitchedBackends) -> None:
    """A first try that ended between the event and its notification once left the notification out for good."""
    reception = backends.reception(rules=ToldToAlice())
    backends.calls_until_away = 1
    assert kinds(await reception.accept([an_event()], ANYONE)) == [BrokerUnavailable]
    assert [event.type for event in backends.published] == ["order.created"]
    backends.calls_until_away = None
    assert duplicates(await reception.accept([an_event()], ANYONE)) == [True]
    assert [event.type for event in backends.published] == ["order.created", "notification.sent"]


async def test_a_notification_is_said_once_in_its_first_words(backends: SwitchedBackends) -> None:
    rules = ToldToAlice()
    reception = backends.reception(rules=rules)
    await reception.accept([an_event()], ANYONE)
    rules.words = "A new order"
    assert duplicates(await reception.accept([an_event()], ANYONE)) == [True]
    assert [event.data for event in backends.published] == [None, {"title": "An order"}]


# Duplicates: known from the log, or from what this process published lately.


@pytest.mark.parametrize("is_in_the_log", [True, False])
async def test_the_same_again_is_answered_with_the_first_ones_context(
    backends: SwitchedBackends, is_in_the_log: bool
) -> None:
    reception = backends.reception()
    first = await reception.accept_one(an_event(data={"a": 1, "b": 2}), ANYONE)
    if is_in_the_log:
        await backends.append(backends.published[0])
        reception = backends.reception()
    again = await reception.accept_one(an_event(data={"b": 2, "a": 1}, time="2026-01-31T12:00:00Z"), ANYONE)
    assert (again.source, again.id, again.traceparent) == (first.source, first.id, first.traceparent)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert len(backends.published) == 1


@pytest.mark.parametrize("is_in_the_log", [True, False])
async def test_the_same_identity_with_other_content_is_refused(backends: SwitchedBackends, is_in_the_log: bool) -> None:
    reception = backends.reception()
    await reception.accept_one(an_event(data=1, audience="user:alice"), ANYONE)
    if is_in_the_log:
        await backends.append(backends.published[0])
        reception = backends.reception()
    with pytest.raises(IdentityConflict, match="sha256"):
        await reception.accept_one(an_event(data=2, audience="user:alice"), ANYONE)
    with pytest.raises(IdentityConflict, match="user:bob"):
        await reception.accept_one(an_event(data=1, audience="user:alice user:bob"), ANYONE)
    assert len(backends.published) == 1


@pytest.mark.parametrize("is_in_the_log", [True, False])
async def test_a_repeat_under_new_rules_is_compared_by_what_its_producer_says(
    backends: SwitchedBackends, is_in_the_log: bool
) -> None:
    """Its first try reached fewer than the rules name by now, which is no fault of the producer."""
    rules = ToldToAlice(type="unknown")
    reception = backends.reception(rules=rules)
    await reception.accept_one(an_event(audience="user:bob"), ANYONE)
    if is_in_the_log:
        await backends.append(backends.published[0])
        reception = backends.reception(rules=rules)
    rules.type = "order.created"
    assert (await reception.accept_one(an_event(audience="user:bob"), ANYONE)).duplicate
    with pytest.raises(IdentityConflict, match="user:eve"):
        await reception.accept_one(an_event(audience="user:eve"), ANYONE)


async def test_a_batch_may_hold_duplicates_and_conflicts_of_its_own(backends: SwitchedBackends) -> None:
    events = [an_event(data=1), an_event(data=1), an_event(data=2), an_event(id="2")]
    outcomes = await backends.reception().accept(events, ANYONE)
    assert kinds(outcomes) == [Receipt, Receipt, IdentityConflict, Receipt]
    assert duplicates(outcomes) == [False, True, None, False]
    assert [event.id for event in backends.published] == ["1", "2"]


async def test_concurrent_duplicates_are_published_once_and_all_wait_for_it(backends: SwitchedBackends) -> None:
    backends.broker_may_confirm.clear()
    reception = backends.reception()
    calls = [asyncio.create_task(reception.accept([an_event(), an_event(id=str(n))], ANYONE)) for n in range(2, 7)]
    await eventually(lambda: backends.under_way >= 6)
    assert not any(call.done() for call in calls), "nobody is told of what is not confirmed"
    backends.broker_may_confirm.set()
    outcomes = await asyncio.gather(*calls)
    assert sorted(duplicates(outcome)[0] or False for outcome in outcomes) == [False, True, True, True, True]
    assert len({outcome[0].traceparent for outcome in outcomes if isinstance(outcome[0], Receipt)}) == 1
    assert sorted(event.id for event in backends.published) == ["1", "2", "3", "4", "5", "6"]


async def test_whoever_waits_for_a_first_that_fails_is_told_so_and_the_next_try_publishes(
    backends: SwitchedBackends,
) -> None:
    backends.broker_may_confirm.clear()
    reception = backends.reception()
    calls = [asyncio.create_task(reception.accept([an_event()], ANYONE)) for _ in range(2)]
    await eventually(lambda: backends.under_way == 1)
    backends.broker_away = True
    backends.broker_may_confirm.set()
    for outcome in await asyncio.gather(*calls):
        assert kinds(outcome) == [BrokerUnavailable]
    backends.broker_away = False
    assert duplicates(await reception.accept([an_event()], ANYONE)) == [False]


async def test_crossed_batches_do_not_wait_for_each_other(backends: SwitchedBackends) -> None:
    reception = backends.reception()
    one, other = an_event(id="1"), an_event(id="2")
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(reception.accept([one, other], ANYONE), reception.accept([other, one], ANYONE))
    assert sum(duplicates(outcome).count(False) for outcome in outcomes) == 2


async def test_what_is_remembered_of_the_last_events_is_bounded(
    backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "MAX_EVENTS", 3)
    reception = backends.reception()
    await reception.accept([an_event(id=str(number)) for number in range(5)], ANYONE)
    assert duplicates(await reception.accept([an_event(id="4"), an_event(id="0")], ANYONE)) == [True, False]
    monkeypatch.setattr(recent, "MAX_BYTES", 500)
    await reception.accept([an_event(id=f"b{number}", data="x" * 200) for number in range(3)], ANYONE)
    again = [an_event(id="b2", data="x" * 200), an_event(id="b0", data="x" * 200)]
    assert duplicates(await reception.accept(again, ANYONE)) == [True, False]


# All or nothing.


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (an_event(id="3", audience="control:alice"), InvalidEvent),
        (an_event(id="3", type="carillon.operator.acted"), InvalidEvent),
        (an_event(id="3", data="x" * 4096), EventTooLarge),
        (an_event(id="0", data=2), IdentityConflict),
    ],
)
async def test_all_or_nothing(backends: SwitchedBackends, refused: Event, error: type[CarillonError]) -> None:
    reception = backends.reception()
    await reception.accept([an_event(id="0", data=1)], ANYONE)
    batch = [an_event(id="1"), refused, an_event(id="2")]
    outcomes = await reception.accept(batch, ANYONE, all_or_nothing=True)
    assert kinds(outcomes) == [Abandoned, error, Abandoned]
    assert [event.id for event in backends.published] == ["0"]
    good = [batch[0], batch[2], an_event(id="0", data=1)]
    assert duplicates(await reception.accept(good, ANYONE, all_or_nothing=True)) == [False, False, True]


# Pressure.


async def test_over_the_bound_events_are_refused_at_once(
    backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PUBLISHES_IN_FLIGHT", 3)
    reception = backends.reception()
    backends.broker_may_confirm.clear()
    waiting = asyncio.create_task(reception.accept([an_event(id="1"), an_event(id="2")], ANYONE))
    await eventually(lambda: backends.under_way == 2)
    outcomes = await reception.accept([an_event(id="3"), an_event(id="4")], ANYONE)
    assert kinds(outcomes) == [Busy, Busy]
    backends.broker_may_confirm.set()
    assert kinds(await waiting) == [Receipt, Receipt]
    assert kinds(await reception.accept([an_event(id="3"), an_event(id="4")], ANYONE)) == [Receipt, Receipt]


async def test_a_call_that_needs_more_places_than_there_are_goes_alone(
    backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused whenever it comes, its producer would try again for ever: rules speak about each event of a batch."""
    monkeypatch.setattr(module, "MAX_PUBLISHES_IN_FLIGHT", 3)
    reception = backends.reception(rules=ToldToAlice())
    batch = [an_event(id=str(number)) for number in range(4)]
    backends.broker_may_confirm.clear()
    alone = asyncio.create_task(reception.accept(batch, ANYONE))
    await eventually(lambda: backends.under_way)
    assert kinds(await reception.accept([an_event(id="other")], ANYONE)) == [Busy]
    backends.broker_may_confirm.set()
    assert kinds(await alone) == [Receipt] * 4
    assert len(backends.published) == 8
    assert kinds(await reception.accept([an_event(id="other")], ANYONE)) == [Receipt]


async def test_others_get_their_turn_while_a_large_batch_is_looked_at(backends: SwitchedBackends) -> None:
    seen: list[int] = []

    def check(event: Event) -> None:
        seen.append(turns())

    with turns_of_others() as turns:
        await backends.reception(check=check).accept([an_event(id=str(number)) for number in range(100)], ANYONE)
    assert len(set(seen)) == 100 / module.ADMITTED_AT_ONCE


@pytest.mark.parametrize("hangs", ["log_may_answer", "broker_may_confirm"])
async def test_a_backend_that_hangs_is_told_of_in_time_and_holds_its_places(
    backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    monkeypatch.setattr(module, "MAX_PUBLISHES_IN_FLIGHT", 1)
    getattr(backends, hangs).clear()
    reception = backends.reception(timeout_s=0.1)
    async with asyncio.timeout(60):
        assert kinds(await reception.accept([an_event()], ANYONE)) == [Unavailable]
        assert kinds(await reception.accept([an_event(id="2")], ANYONE)) == [Busy], "what is under way still is"
        getattr(backends, hangs).set()

        await answered(lambda: reception.accept_one(an_event(), ANYONE), CarillonError)
    assert len(backends.published) == 1, "it was confirmed late, and the next try met it"


async def test_a_caller_that_goes_away_cuts_nothing_short(backends: SwitchedBackends) -> None:
    backends.broker_may_confirm.clear()
    reception: Reception = backends.reception()
    leaving = asyncio.create_task(reception.accept([an_event()], ANYONE))
    await eventually(lambda: backends.under_way == 1)
    leaving.cancel()
    backends.broker_may_confirm.set()
    await eventually(lambda: len(backends.published) == 1)
    assert duplicates(await reception.accept([an_event()], ANYONE)) == [True]
