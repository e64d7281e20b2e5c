"""Problem documents: every error that a client sees, as RFC 9457 `application/problem+json`.

Source: https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from quart import Quart, Response, g
from werkzeug.exceptions import HTTPException

from shared.identity.transactions import LoginRefused
from shared.model.errors import (
    Abandoned,
    Busy,
    EventTooLarge,
    IdentityConflict,
    InvalidInput,
    OutOfScope,
    RateLimited,
    Unavailable,
)

CONTENT_TYPE = "application/problem+json"

# About what a backend's connection takes to come back; clients add their own jitter.
RETRY_AFTER_S = 2

_AGAIN = "send the same request again later"

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """A request is answered with this problem; raise it where no `CarillonError` fits.

    Args:
        status: the HTTP status, 400 or above.
        detail: what was wrong, where.
        field: the header, parameter or attribute at fault.
        fix: what the client should do instead.
        headers: further headers of the answer, such as `WWW-Authenticate`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        fix: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field, self.fix, self.headers = status, detail, field, fix, headers


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    field: str | None = None,
    fix: str | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document: type, title, status, detail, and where known the field at fault and the fix.

    Args:
        members: further ones, of this problem alone (RFC 9457, 3.2).
    """
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    document |= {name: value for name, value in (("field", field), ("fix", fix)) if value is not None}
    document |= members or {}
    return Response(json.dumps(document, ensure_ascii=False), status, dict(headers or {}), content_type=CONTENT_TYPE)


def status_of(error: BaseException) -> int:
    """The HTTP status that `problem_of` gives this error."""
    match error:
        case Refusal():
            return error.status
        case EventTooLarge():
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        case IdentityConflict():
            return HTTPStatus.CONFLICT
        case OutOfScope():
            return HTTPStatus.FORBIDDEN
        case LoginRefused():
            return error.status
        case InvalidInput():
            return HTTPStatus.BAD_REQUEST
        case Abandoned():
            return HTTPStatus.FAILED_DEPENDENCY
        case RateLimited():
            return HTTPStatus.TOO_MANY_REQUESTS
        case Busy() | Unavailable():
            return HTTPStatus.SERVICE_UNAVAILABLE
        case HTTPException():
            return error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR


def reason_of(error: Exception) -> str:
    """Why the request is refused, as a short stable word: what a client sent has no place in a metric."""
    match error:
        case InvalidInput():
            return error.reason
        case Unavailable():
            return f"{error.backend}-unavailable"
        case Busy():
            return "busy"
        case _:
            return word_of(status_of(error))


def word_of(status: int) -> str:
    """413 -> `content-too-large`."""
    return title_of(status).lower().replace(" ", "-")


class Told(NamedTuple):
    """What a client is told of an error."""

    detail: str
    field: str | None = None
    fix: str | None = None
    headers: Mapping[str, str] | None = None


def told_of(error: Exception) -> Told:
    """Nothing of an unknown error is told."""
    match error:
        case Refusal():
            return Told(error.detail, error.field, error.fix, error.headers)
        case InvalidInput():
            return Told(error.problem, error.field, error.fix)
        case Unavailable():
            # The adapter's own words may name hosts of the inner network: they belong into /readyz.
            return Told(f"the {error.backend} does not answer now", fix=_AGAIN, headers=_retry_after(RETRY_AFTER_S))
        case Busy():
            return Told(str(error), fix=_AGAIN, headers=_retry_after(RETRY_AFTER_S))
        case RateLimited():
            return Told(error.what, fix="wait as Retry-After says", headers=_retry_after(error.retry_after_s))
        case Abandoned():
            return Told(str(error), fix="mend what is refused, and send all of it again")
        case HTTPException():
            return Told(error.description or title_of(status_of(error)), headers=_own_headers(error))
        case _:
            return Told("the server failed at this request, and logged why")


def problem_of(error: Exception) -> Response:
    """The answer to a request that ended with `error`."""
    status, told = status_of(error), told_of(error)
    return problem(status, title_of(status), told.detail, field=told.field, fix=told.fix, headers=told.headers)


def register_problems(app: Quart) -> None:
    """Answers every error of `app` with a problem document; unknown ones are logged once."""

    async def answer(error: Exception) -> Response:
        g.refused_because = reason_of(error)
        return problem_of(error)

    async def answer_http(error: HTTPException) -> Any:
        return error.response or problem_of(error)

    async def answer_unknown(error: Exception) -> Response:
        _log.error("unexpected error in %s", app.name, exc_info=error)
        return problem_of(error)

    for known in (Refusal, InvalidInput, Unavailable, Busy, RateLimited):
        app.register_error_handler(known, answer)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, answer_unknown)


def title_of(status: int) -> str:
    """413 -> `Content Too Large`, where HTTP has a word for it."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _retry_after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _own_headers(error: HTTPException) -> dict[str, str]:
    """What the error brings besides its body: `Allow` of 405, `Retry-After`, `WWW-Authenticate`."""
    return {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
