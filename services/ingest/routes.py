"""Ingest's HTTP side: `POST /v1/events`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from quart import Blueprint, Response, jsonify, request

from services.ingest.http_binding import MediaType, event_of, mode_of
from services.ingest.publisher import Publisher, Receipt
from shared.telemetry.tracing import context_of, is_exporting, tracer
from shared.web.app import limited_body
from shared.web.keys import ApiKeys, is_loopback
from shared.web.problem import RETRY_AFTER_S, Refusal, status_of

PATH = "/v1/events"
# With each holding an event of the default 256 KiB, 128 MiB; and beyond some hundred outstanding
# confirms brokers get slower, not faster. Over it the answer is 503 at once: waiting here would
# hold memory without bound, while the client's retry costs nothing.
MAX_PUBLISHES_IN_FLIGHT = 512


def blueprint(publisher: Publisher, producers: ApiKeys, max_event_bytes: int) -> Blueprint:
    """`POST /v1/events`, for an app of ingest's own or for `carillon dev`."""
    routes = Blueprint("ingest", __name__)
    places = Places(MAX_PUBLISHES_IN_FLIGHT)

    @routes.post(PATH)
    async def accept() -> tuple[Response, int]:
        with _server_span():
            producers.identify(request.headers.get("Authorization"), from_loopback=_from_loopback())
            with places.taken():
                receipt = await accept_one()
        return jsonify(accepted=[_shown(receipt)], traceparent=receipt.traceparent), HTTPStatus.ACCEPTED

    async def accept_one() -> Receipt:
        headers = list(request.headers.items())
        body = await limited_body(max_event_bytes)
        media_type = MediaType.parse(request.headers.get("Content-Type"))
        mode = mode_of(media_type, headers)
        return await publisher.publish(event_of(mode, media_type, headers, body, max_event_bytes))

    return routes


class Places:
    """A bound on what is in flight, that refuses instead of waiting."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds one place. Raises `Refusal` with 503 where none is free."""
        if self._free == 0:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            detail = "as many publishes are under way as this server takes"
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, detail, fix="send the same request again later", headers=retry
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@contextmanager
def _server_span() -> Iterator[Span]:
    """The SERVER span of this request, with the caller's as parent; only a 5xx is its error."""
    parent = context_of(request.headers.get("traceparent"), request.headers.get("tracestate"))
    attributes = {"http.request.method": request.method, "http.route": PATH, "url.path": request.path}
    with tracer().start_as_current_span(
        f"POST {PATH}",
        context=parent,
        kind=SpanKind.SERVER,
        attributes=attributes if is_exporting() else None,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            _tell_outcome(span, status_of(error), error)
            raise
        _tell_outcome(span, HTTPStatus.ACCEPTED)


def _tell_outcome(span: Span, status: int, error: Exception | None = None) -> None:
    span.set_attribute("http.response.status_code", int(status))
    if error is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))


def _from_loopback() -> bool:
    """Whether the request began on this machine. A proxy or tunnel here forwards others' requests, and says so."""
    if "Forwarded" in request.headers or "X-Forwarded-For" in request.headers:
        return False
    # From the scope: a header named Remote-Addr is the client's to write.
    client = (request.scope or {}).get("client")
    return is_loopback(client[0] if client else None)


def _shown(receipt: Receipt) -> dict[str, Any]:
    return {"source": receipt.source, "id": receipt.id, "duplicate": receipt.duplicate}
