"""Every promise of `shared.ports.journeys.JourneyStore` as a check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from shared.conformance import JourneyStoreMaker
from shared.conformance.samples import SOURCE
from shared.conformance.waiting import eventually_some, within_deadline
from shared.ports.journeys import FAILED, SKIPPED, STAGES, JourneyStore, Step

JourneyStoreCheck = Callable[[JourneyStoreMaker], Awaitable[None]]

# Outlasts any check.
LONG_S = 300.0
# Is waited for; no check depends on its still running.
SHORT_S = 0.2
NOON_US = 1_769_860_800_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
# More than one flush of a process keeps.
MANY = 2500
ALL = 10_000


def a_step(number: int, id_: str = "order-7", stage: str = "delivered", trace: str = TRACE) -> Step:
    """Step number `number`, which began so many microseconds after noon."""
    return Step(
        stage=stage,
        source=SOURCE,
        id=id_,
        trace=trace,
        span=f"{number:016x}",
        parent=f"{number + 1:016x}",
        began_us=NOON_US + number,
        took_us=250,
        service="edge host-1",
        about={"position": "12", "user": "alice"},
    )


async def a_new_journey_store_is_empty(make: JourneyStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        assert list(await store.of_event("order-7", limit=ALL)) == []
        assert list(await store.of_trace(TRACE, limit=ALL)) == []
        await store.keep([], LONG_S)


async def steps_come_back_equal(make: JourneyStoreMaker) -> None:
    plain = a_step(1)
    awkward = [
        plain,
        *(replace(plain, stage=stage, span=f"{number:016x}") for number, stage in enumerate(STAGES, 2)),
        replace(plain, span="a" * 16, parent=None, took_us=0, about={}),
        replace(plain, span="b" * 16, outcome=SKIPPED, reason="no-one-connected"),
        replace(plain, span="c" * 16, outcome=FAILED, reason="slow-reader"),
        replace(plain, span="d" * 16, about={"$set": "a.b", "": "", "ünï": "日本語 🎉", "user": 'o\'hara\n"x"'}),
        replace(plain, span="e" * 16, took_us=2**52, service="s" * 500),
    ]
    long = replace(plain, id="日" * 85, source="urn:ü" + "s" * 2000, span="f" * 16)
    async with _two(make) as (one, two):
        await one.keep([*awkward, long], LONG_S)
        assert _by_span(await two.of_event("order-7", SOURCE, limit=ALL)) == _by_span(awkward), "unchanged"
        assert list(await two.of_event(long.id, long.source, limit=ALL)) == [long], "unchanged, however long"


async def steps_are_found_by_event_and_by_trace(make: JourneyStoreMaker) -> None:
    mine, other = a_step(1), a_step(2, id_="order-8")
    elsewhere = replace(a_step(3), source="/elsewhere", trace="f" * 32)
    async with _two(make) as (one, two):
        await one.keep([elsewhere, other, mine], LONG_S)
        assert list(await two.of_event("order-7", SOURCE, limit=ALL)) == [mine]
        assert list(await two.of_event("order-7", limit=ALL)) == [mine, elsewhere], "of any source where none is named"
        assert list(await two.of_trace(TRACE, limit=ALL)) == [mine, other], "of all events of the trace"
        for nobody in (await two.of_event("$order", limit=ALL), await two.of_trace("0" * 32, limit=ALL)):
            assert list(nobody) == []


async def steps_come_in_the_order_in_which_they_began(make: JourneyStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        steps = [a_step(number) for number in range(1, 21)]
        await store.keep(steps[10:], LONG_S)
        await store.keep(steps[9::-1], LONG_S)
        assert list(await store.of_event("order-7", limit=ALL)) == steps
        assert list(await store.of_trace(TRACE, limit=7)) == steps[:7], "the limit cuts off the last ones"
        for limit in (0, -1):
            assert list(await store.of_event("order-7", limit=limit)) == []


async def the_same_step_again_is_the_same_step(make: JourneyStoreMaker) -> None:
    step = a_step(1)
    of_one_span = [step, replace(step, id="order-8"), replace(step, stage="seen"), replace(step, source="/other")]
    async with _two(make) as (one, two):
        await one.keep([step, step], LONG_S)
        await within_deadline(
            asyncio.gather(*(store.keep(of_one_span, LONG_S) for _ in range(5) for store in (one, two))),
            "whoever repeats or races is answered",
        )
        found = await two.of_trace(TRACE, limit=ALL)
        assert sorted(each.key for each in found) == sorted(each.key for each in of_one_span), "each once"


async def steps_go_when_their_time_is_over(make: JourneyStoreMaker) -> None:
    async with _two(make) as (one, two):
        await one.keep([a_step(number) for number in range(1, 11)], SHORT_S)
        await one.keep([a_step(11)], LONG_S)

        async def is_over() -> bool | None:
            return len(await two.of_trace(TRACE, limit=ALL)) == 1 or None

        await eventually_some(is_over, "what is over its time is found no more")
        assert list(await one.of_event("order-7", limit=ALL)) == [a_step(11)], "and all else is"


async def many_steps_are_kept_at_once(make: JourneyStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        await within_deadline(store.keep([a_step(number) for number in range(MANY)], LONG_S), "all are kept")
        assert len(await store.of_trace(TRACE, limit=ALL)) == MANY
        assert len(await store.of_event("order-7", limit=100)) == 100


JOURNEY_STORE_CHECKS: tuple[JourneyStoreCheck, ...] = (
    a_new_journey_store_is_empty,
    steps_come_back_equal,
    steps_are_found_by_event_and_by_trace,
    steps_come_in_the_order_in_which_they_began,
    the_same_step_again_is_the_same_step,
    steps_go_when_their_time_is_over,
    many_steps_are_kept_at_once,
)


async def check_journey_store(make: JourneyStoreMaker) -> None:
    """Runs every check."""
    for check in JOURNEY_STORE_CHECKS:
        await check(make)


def _by_span(steps: Sequence[Step]) -> dict[tuple[str, str, str, str], Step]:
    return {step.key: step for step in steps}


@asynccontextmanager
async def _two(make: JourneyStoreMaker) -> AsyncIterator[tuple[JourneyStore, JourneyStore]]:
    """Two clients of one storage, as of two processes."""
    async with make() as storage, storage.client() as one, storage.client() as two:
        yield one, two
