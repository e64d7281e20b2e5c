"""What all doors of ingest have in common: the span of a request, who sent it, and its body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from opentelemetry.trace import SpanKind
from quart import request

from services.ingest.producers import Producers
from shared.model.producer import Producer
from shared.telemetry import tracing
from shared.telemetry.tracing import Draft
from shared.web.app import limited_body
from shared.web.keys import is_loopback
from shared.web.problem import Refusal, status_of


async def producer_of_request(producers: Producers) -> Producer:
    """Who sent the current request. Raises `Refusal`, 401 or 403."""
    return await producers.identify(request.headers.get("Authorization"), from_loopback=is_from_loopback())


async def body_of_request(max_bytes: int) -> bytes:
    """The body of the current request, as it is. Raises as `limited_body`, and `Refusal` with 415 for a packed one.

    Nothing is unpacked here: some bytes would become many, and of what kept them packed nobody would know it.
    """
    body = await limited_body(max_bytes)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        detail, fix = f"{encoding[:40]!r} is not undone here", "send the body as it is"
        headers = {"Accept-Encoding": "identity"}  # RFC 9110, 15.5.16
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise Refusal(status, detail, field="Content-Encoding", fix=fix, headers=headers)
    return body


@dataclass(slots=True)
class Exchange:
    """The current request, and what it is answered."""

    status: int = HTTPStatus.ACCEPTED
    """Where it ends without an error; a door that answers something else says so here."""


@contextmanager
def server_span(route: str) -> Iterator[Exchange]:
    """The SERVER span of the current request, with the caller's as parent; only a 5xx is its error.

    Args:
        route: its address as a template, such as `/v1/webhooks/{source}`.
    """
    exchange = Exchange()
    parent = tracing.context_of(request.headers.get("traceparent"), request.headers.get("tracestate"))
    drafted = tracing.draft(parent=parent)
    outcome: dict[str, str | int] = {}
    try:
        with tracing.within(drafted):
            yield exchange
        outcome = _outcome(exchange.status)
    except Exception as error:
        outcome = _outcome(status_of(error), type(error).__name__)
        raise
    finally:
        if drafted.is_recorded:
            _record(drafted, route, outcome)


def is_from_loopback() -> bool:
    """Whether the request began on this machine. A proxy or tunnel here forwards others' requests, and says so."""
    if "Forwarded" in request.headers or "X-Forwarded-For" in request.headers:
        return False
    # From the scope: a header named Remote-Addr is the client's to write.
    client = (request.scope or {}).get("client")
    return is_loopback(client[0] if client else None)


def _outcome(status: int, error_type: str | None = None) -> dict[str, str | int]:
    answered: dict[str, str | int] = {"http.response.status_code": int(status)}
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return answered
    return answered | tracing.failure(error_type or str(int(status)))


def _record(drafted: Draft, route: str, outcome: Mapping[str, str | int]) -> None:
    attributes = {"http.request.method": request.method, "http.route": route, "url.path": request.path, **outcome}
    tracing.end(drafted, f"{request.method} {route}", SpanKind.SERVER, attributes, [], "error.type" in outcome)
