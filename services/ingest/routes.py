"""Ingest's door for CloudEvents: `POST /v1/events`."""

from __future__ import annotations

from http import HTTPStatus

from quart import Blueprint, Response, jsonify, request

from services.ingest.doors import producer_of_request, server_span
from services.ingest.http_binding import MediaType, event_of, mode_of
from services.ingest.producers import Producers
from services.ingest.reception import Reception
from shared.model.event import Event
from shared.web.app import limited_body

PATH = "/v1/events"


def blueprint(reception: Reception, producers: Producers, max_event_bytes: int) -> Blueprint:
    """`POST /v1/events`, for an app of ingest's own or for `carillon dev`."""
    routes = Blueprint("ingest", __name__)

    @routes.post(PATH)
    async def accept() -> tuple[Response, int]:
        with server_span(PATH):
            producer = await producer_of_request(producers)
            receipt = await reception.accept_one(await received(), producer)
        return jsonify(accepted=[receipt.shown()], traceparent=receipt.traceparent), HTTPStatus.ACCEPTED

    async def received() -> Event:
        headers = list(request.headers.items())
        body = await limited_body(max_event_bytes)
        media_type = MediaType.parse(request.headers.get("Content-Type"))
        return event_of(mode_of(media_type, headers), media_type, headers, body, max_event_bytes)

    return routes
