"""Ingest's door for CloudEvents: `POST /v1/events`, one or many, and the consent that senders ask for."""

from __future__ import annotations

from http import HTTPStatus

from quart import Blueprint, Response, jsonify, request

from services.ingest import handshake, openapi
from services.ingest.answers import BatchAnswer, batch_answer
from services.ingest.doors import body_of_request, producer_of_request, server_span
from services.ingest.http_binding import InvalidBatched, MediaType, Mode, batch_of, body_limit, event_of, mode_of
from services.ingest.producers import Producers
from services.ingest.publisher import Receipt
from services.ingest.reception import Reception, Refused
from shared.model.errors import Abandoned
from shared.model.event import Event
from shared.model.producer import Producer
from shared.model.settings import Settings
from shared.web.problem import problem, title_of

PATH = openapi.EVENTS
# Where events are pushed to by those who may ask for consent first.
WEBHOOKS = "/v1/webhooks/"

Outcomes = list[Receipt | Refused | InvalidBatched]


def blueprint(reception: Reception, producers: Producers, settings: Settings) -> Blueprint:
    """`POST /v1/events`, for an app of ingest's own or for `carillon dev`."""
    routes = Blueprint("ingest", __name__)
    max_event_bytes, as_a_whole = settings.max_event_bytes, settings.batch_accept == "all-or-nothing"

    @routes.before_app_request
    async def answer_handshake() -> Response | None:
        # Before any route: in `carillon dev` the edge has this address, too, and answers its OPTIONS.
        # A browser's preflight has the same method, and never this header.
        origin = request.headers.get(handshake.ORIGIN) if request.method == "OPTIONS" else None
        if origin is None or not _is_pushed_to(request.path):
            return None
        rate = await producers.rate_of(request.headers.get("Authorization"))
        return Response(status=HTTPStatus.OK, headers=handshake.consent(origin, rate))

    @routes.post(PATH)
    async def accept() -> tuple[Response, int] | Response:
        with server_span(PATH) as exchange:
            producer = await producer_of_request(producers)
            headers = list(request.headers.items())
            media_type = MediaType.parse(request.headers.get("Content-Type"))
            body = await body_of_request(body_limit(media_type, max_event_bytes))
            mode = mode_of(media_type, headers)
            if mode is Mode.BATCH:
                answer = batch_answer(await accept_batch(body, producer))
                exchange.status = answer.status
                return _response(answer)
            event = event_of(mode, media_type, headers, body, max_event_bytes)
            receipt = await reception.accept_one(event, producer)
        return jsonify(accepted=[receipt.shown()], traceparent=receipt.traceparent), HTTPStatus.ACCEPTED

    @routes.get(openapi.PATH)
    async def describe() -> Response:
        return jsonify(openapi.document())

    async def accept_batch(body: bytes, producer: Producer) -> Outcomes:
        found = batch_of(body)
        events = [one for one in found if isinstance(one, Event)]
        if as_a_whole and len(events) < len(found):
            return [Refused(one.source, one.id, Abandoned()) if isinstance(one, Event) else one for one in found]
        accepted = iter(await reception.accept(events, producer, all_or_nothing=as_a_whole))
        return [next(accepted) if isinstance(one, Event) else one for one in found]

    return routes


def _is_pushed_to(path: str) -> bool:
    return path == PATH or path.startswith(WEBHOOKS)


def _response(answer: BatchAnswer) -> Response:
    listed = {"accepted": answer.accepted} | ({"refused": answer.refused} if answer.refused else {})
    if answer.status < HTTPStatus.BAD_REQUEST:
        response = jsonify(listed)
        response.status_code = answer.status
        return response
    return problem(answer.status, title_of(answer.status), answer.detail, headers=answer.headers, members=listed)
