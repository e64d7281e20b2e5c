"""Carrying calls out: what a body asks becomes events at the reception, and their receipts the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.ingest.idempotency import left_out
from services.ingest.publisher import Receipt
from services.ingest.reception import Reception, Refused
from services.ingest.rpc import openrpc
from services.ingest.rpc.envelope import Asked, Call, Unlawful, asked_by, written
from services.ingest.rpc.faults import Code, Fault, fault_of
from services.ingest.rpc.methods import DISCOVER, METHODS, EventDryRun
from services.ingest.rpc.params import Publishing, checked
from shared.model.errors import CarillonError
from shared.model.event import Event
from shared.model.producer import Producer
from shared.telemetry.incidents import Seldom

DryRun = Callable[[Event], dict[str, Any]]
"""What rules would do with an event, as JSON."""

# On top of one event of any size: a hundred calls with ten KiB each, of which many may wait at once.
BATCH_MAX_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a body, and what they call it."""

    producer: Producer
    key: str | None = None
    """The body's idempotency key, for calls that bring none of their own."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What is said to a body."""

    body: bytes | None
    """None where nothing is to be said."""
    postponed: Fault | None
    """Why all that was asked should be asked again: the fault of a lone call, or of notifications, that passes."""


class Answering:
    """Answers bodies, whichever way they came."""

    def __init__(self, reception: Reception, dry_run: DryRun, max_event_bytes: int) -> None:
        self._reception, self._dry_run = reception, dry_run
        self._told = Seldom()
        self.max_body_bytes = max_event_bytes + BATCH_MAX_BYTES

    async def answer(self, body: bytes, caller: Caller) -> Answered:
        """Never raises: whatever goes wrong is what is answered."""
        asked = asked_by(body, self.max_body_bytes)
        outcomes = await self._outcomes(asked, caller)
        self._tell_unanswered(asked, outcomes, caller.producer.name)
        return Answered(written(asked, outcomes), _postponed(asked, outcomes))

    async def _outcomes(self, asked: Asked, caller: Caller) -> Sequence[Any]:
        """For each item its result or its fault. The events of all are one batch at the reception, in order."""
        plans = []
        for number, item in enumerate(asked.items):
            plans.append(self._planned(item, caller, number))
            # A dry run may take all that rules may cost, and there may be a hundred of them.
            await asyncio.sleep(0)
        receipts = iter(await self._accepted([plan for plan in plans if isinstance(plan, Event)], caller.producer))
        return [next(receipts) if isinstance(plan, Event) else plan for plan in plans]

    async def _accepted(self, events: Sequence[Event], producer: Producer) -> Sequence[Any]:
        try:
            outcomes = await self._reception.accept(events, producer) if events else []
        except Exception as failed:
            return [_unexpected(failed)] * len(events)
        return [_shown(outcome) for outcome in outcomes]

    def _planned(self, item: Call | Unlawful, caller: Caller, number: int) -> Any:
        """An event to be accepted; or the item's result, or fault, at once."""
        if isinstance(item, Unlawful):
            return item.fault
        try:
            return self._carried_out(item, caller, number)
        except Fault as fault:
            return fault
        except CarillonError as refused:
            return fault_of(refused)
        except Exception as failed:
            return _unexpected(failed)

    def _carried_out(self, call: Call, caller: Caller, number: int) -> Any:
        if call.method not in METHODS:
            raise Fault(Code.METHOD_NOT_FOUND, "nothing is called so", field="method", fix="rpc.discover lists them")
        params = checked(METHODS[call.method], call.params)
        if call.method == DISCOVER:
            return openrpc.document()
        if isinstance(params, EventDryRun):
            return self._rehearsed(Event.from_attributes(left_out(caller.producer) | params.event()), caller.producer)
        assert isinstance(params, Publishing)
        if params.idempotency_key:
            made = left_out(caller.producer, params.idempotency_key)
        else:
            # Each call of a batch is an event of its own, and the same one when the batch is sent again.
            made = left_out(caller.producer, caller.key, str(number) if number else "")
        return Event.from_attributes(made | params.attributes())

    def _tell_unanswered(self, asked: Asked, outcomes: Sequence[Any], producer: str) -> None:
        """Nobody else hears of a notification that was refused."""
        for item, outcome in zip(asked.items, outcomes, strict=True):
            if not (isinstance(item, Call) and item.is_notification and isinstance(outcome, Fault)):
                continue
            if (untold := self._told.untold(f"{producer} {outcome.code.name}")) is not None:
                _log.warning("a notification of %r was refused: %s; %d more since last told", producer, outcome, untold)

    def _rehearsed(self, event: Event, producer: Producer) -> dict[str, Any]:
        self._reception.admit(event, producer)
        return self._dry_run(event)


def _shown(outcome: Receipt | Refused) -> dict[str, Any] | Fault:
    if isinstance(outcome, Refused):
        return fault_of(outcome.error)
    return {**outcome.shown(), "traceparent": outcome.traceparent}


def _unexpected(failed: Exception) -> Fault:
    """Nothing of an unknown error is shown."""
    _log.error("unexpected error in a call", exc_info=failed)
    return Fault(Code.INTERNAL_ERROR, "the server failed at this call, and logged why")


def _postponed(asked: Asked, outcomes: Sequence[Any]) -> Fault | None:
    """HTTP has words of its own for what passes. In an answered batch each call says it for itself."""
    if asked.is_batch and asked.wants_answer:
        return None
    return next((each for each in outcomes if isinstance(each, Fault) and each.code.passes), None)
