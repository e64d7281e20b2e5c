"""Ingest's door for webhooks: `POST /v1/webhooks/<source>`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from quart import Blueprint, Response, jsonify, request

from services.ingest.doors import body_of_request, is_from_loopback, server_span
from services.ingest.http_binding import MediaType
from services.ingest.reception import Reception
from services.ingest.reloading import Reloaded
from services.ingest.webhooks.posted import Check, NotAuthentic, Posted
from services.ingest.webhooks.source import Source
from services.ingest.webhooks.sources import Sources
from shared.model.event import Event
from shared.model.producer import Producer
from shared.telemetry.incidents import Seldom
from shared.web.problem import Refusal

PATH = "/v1/webhooks/<source>"
ROUTE = "/v1/webhooks/{source}"
SETTING = "CARILLON_WEBHOOKS_FILE"

Clock = Callable[[], float]

_log = logging.getLogger(__name__)


def blueprint(
    reception: Reception, sources: Reloaded[Sources], max_event_bytes: int, clock: Clock = time.time
) -> Blueprint:
    """`POST /v1/webhooks/<source>`.

    Args:
        clock: seconds since 1970.
    """
    routes = Blueprint("webhooks", __name__)
    told = Seldom()

    @routes.post(PATH)
    async def accept(source: str) -> tuple[Response, int]:
        with server_span(ROUTE) as exchange:
            known = _found(sources.value, source)
            event = await received(known)
            if event is None:
                exchange.status = HTTPStatus.OK
                return jsonify(accepted=[], dropped="an event of the sender's test mode"), HTTPStatus.OK
            receipt = await reception.accept_one(event, Producer(f"webhook:{source}"))
        return jsonify(accepted=[receipt.shown()], traceparent=receipt.traceparent), HTTPStatus.ACCEPTED

    async def received(source: Source) -> Event | None:
        body = await body_of_request(max_event_bytes)
        media_type = MediaType.parse(request.headers.get("Content-Type"))
        source.check_media_type(media_type)
        posted = Posted.of(request.headers.items(), body, from_loopback=is_from_loopback())
        try:
            source.scheme.verify(posted, clock())
        except NotAuthentic as failed:
            # Whoever likes may send here: what they fill is not the log.
            if (untold := told.untold(f"{source.name} {failed}")) is not None:
                _tell(source, failed, untold)
            raise _refused(source, failed) from None
        return source.event(posted, media_type)

    return routes


def _found(sources: Sources, name: str) -> Source:
    """The source of that name. Raises `Refusal` with 404, which says how to declare one."""
    if name not in sources:
        fix = f"declare it in a file, and name that in {SETTING}: docs/operating/webhooks.md"
        raise Refusal(HTTPStatus.NOT_FOUND, f"no webhook source {name[:80]!r} is declared", field="source", fix=fix)
    return sources[name]


def _tell(source: Source, failed: NotAuthentic, untold: int) -> None:
    """Which check failed; the sender is told only that one did."""
    about = {"source": source.name, "check": failed.check.value, "header": failed.about}
    _log.warning("webhook of %r refused: %s; %d more since last told", source.name, failed, untold, extra=about)


def _refused(source: Source, failed: NotAuthentic) -> Refusal:
    if failed.check is Check.LOOPBACK:
        detail = "this source is for programs on the server's own machine, and for no page in a browser"
        return Refusal(HTTPStatus.FORBIDDEN, detail, field=failed.about, fix="declare another kind of source")
    detail = "the request is not signed as this source signs, with its secret, and now"
    fix = "sign the body as it is sent; the server's log says which check failed"
    headers = {"WWW-Authenticate": source.scheme.challenge}
    return Refusal(HTTPStatus.UNAUTHORIZED, detail, field="signature", fix=fix, headers=headers)
