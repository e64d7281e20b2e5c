"""The door for JSON-RPC over HTTP: `POST /v1/rpc`, and what it offers at `GET /openrpc.json`."""

from __future__ import annotations

from http import HTTPStatus

from quart import Blueprint, Response, jsonify, request

from services.ingest.doors import body_of_request, producer_of_request, server_span
from services.ingest.http_binding import MediaType
from services.ingest.idempotency import HEADER, key_of_header
from services.ingest.producers import Producers
from services.ingest.rpc import openrpc
from services.ingest.rpc.answering import Answered, Answering, Caller
from services.ingest.rpc.faults import Code
from shared.web.problem import Refusal

PATH = openrpc.RPC_PATH
CONTENT_TYPE = "application/json"


def blueprint(answering: Answering, producers: Producers) -> Blueprint:
    """`POST /v1/rpc` and its description."""
    routes = Blueprint("rpc", __name__)

    @routes.post(PATH)
    async def answer() -> Response:
        with server_span(PATH) as exchange:
            producer = await producer_of_request(producers)
            body = await body_of_request(answering.max_body_bytes)
            _check_media_type(MediaType.parse(request.headers.get("Content-Type")))
            caller = Caller(producer, key_of_header(request.headers.get(HEADER)))
            response = _response(await answering.answer(body, caller))
            exchange.status = response.status_code
            return response

    @routes.get(openrpc.PATH)
    async def describe() -> Response:
        return jsonify(openrpc.document())

    return routes


def _check_media_type(media_type: MediaType) -> None:
    is_lawful = media_type.is_json or media_type.name in ("", "application/json-rpc", "application/jsonrequest")
    if not (is_lawful and media_type.is_utf8):
        detail = f"{media_type.text[:80]} is not JSON in UTF-8"
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, field="Content-Type", fix=f"send Content-Type: {CONTENT_TYPE}"
        )


def _response(answered: Answered) -> Response:
    """200 with whatever was found, 204 where nothing is to be said; what passes says so to HTTP, too."""
    if answered.body is None:
        response = Response(b"", HTTPStatus.NO_CONTENT)
        del response.headers["Content-Type"]
    else:
        response = Response(answered.body, HTTPStatus.OK, content_type=CONTENT_TYPE)
    if answered.postponed is not None:
        limited = answered.postponed.code is Code.RATE_LIMITED
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS if limited else HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = str(answered.postponed.more["retry_after_s"])
    return response
