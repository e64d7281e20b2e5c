"""What is answered to a batch: for each event what came of it, and one status for all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from services.ingest.http_binding import InvalidBatched
from services.ingest.publisher import Receipt
from services.ingest.reception import Refused
from shared.web.problem import status_of, told_of

RETRY_AFTER = "Retry-After"

# What the same request may bring later; the rest must be mended first.
_PASSING = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """A status, and what is listed below it."""

    status: int
    accepted: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        """For a problem document."""
        return f"{len(self.refused)} of {len(self.accepted) + len(self.refused)} events are refused"


def batch_answer(outcomes: Sequence[Receipt | Refused | InvalidBatched]) -> BatchAnswer:
    """The answer to a batch whose events came to this.

    The status tells who reads nothing else what to do. 202: nothing. 503 and 429: send all of it again, as
    what was accepted is a duplicate then. 207: look at what was refused, the rest was accepted. Another 4xx:
    nothing was accepted, and why not.
    """
    accepted = [
        outcome.shown() | {"traceparent": outcome.traceparent} for outcome in outcomes if isinstance(outcome, Receipt)
    ]
    refused = [(at, outcome) for at, outcome in enumerate(outcomes) if not isinstance(outcome, Receipt)]
    status = _status_of_all({status_of(outcome.error) for _, outcome in refused}, is_any_accepted=bool(accepted))
    waits = [int(wait) for _, one in refused if (wait := (told_of(one.error).headers or {}).get(RETRY_AFTER))]
    headers = {RETRY_AFTER: str(max(waits))} if status in _PASSING else {}
    return BatchAnswer(status, accepted, [_refused(at, outcome) for at, outcome in refused], headers)


def _refused(at: int, outcome: Refused | InvalidBatched) -> dict[str, Any]:
    told = told_of(outcome.error)
    what = {"source": outcome.source, "id": outcome.id, "field": told.field, "fix": told.fix}
    known = {name: value for name, value in what.items() if value is not None}
    return {"index": at, "status": status_of(outcome.error), "detail": told.detail, **known}


def _status_of_all(statuses: set[int], *, is_any_accepted: bool) -> int:
    for passing in _PASSING:
        if passing in statuses:
            return passing
    if not statuses:
        return HTTPStatus.ACCEPTED
    if is_any_accepted:
        return HTTPStatus.MULTI_STATUS
    # Of a batch that is taken as a whole, the reason counts and not what was left out for it.
    reasons = statuses - {HTTPStatus.FAILED_DEPENDENCY}
    return reasons.pop() if len(reasons) == 1 else HTTPStatus.BAD_REQUEST
