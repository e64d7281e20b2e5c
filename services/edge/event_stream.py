"""What every event stream's answer has in common, whoever speaks."""

from __future__ import annotations

from http import HTTPStatus

from quart import Response, request

from services.edge.compression import compressor, negotiate
from shared.web.app import drop_body
from shared.web.problem import Refusal
from shared.web.stream import Speaker, stream_response

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # nginx buffers responses unless the response itself asks it not to.
    "X-Accel-Buffering": "no",
}


def event_stream(speaker: Speaker, *, may_compress: bool) -> Response:
    """The answer to the current request that tells all that the speaker has to say."""
    coding = negotiate(request.headers.get("Accept-Encoding", "")) if may_compress else None
    if coding is None:
        return stream_response(speaker, STREAM_HEADERS)
    coded = {"Content-Encoding": coding, "Vary": "Accept-Encoding"}
    return stream_response(speaker, STREAM_HEADERS | coded, compressor(coding))


def refuse_body() -> None:
    """Refuses a request for a stream that brings a body; what comes unannounced, as HTTP/2 allows, is dropped.

    Quart would keep up to 16 MiB of it for as long as the stream is open.
    """
    drop_body()
    if request.content_length or "Transfer-Encoding" in request.headers:
        field = "Content-Length" if request.content_length else "Transfer-Encoding"
        raise Refusal(HTTPStatus.BAD_REQUEST, "a stream takes no body", field=field, fix="ask for it without one")
