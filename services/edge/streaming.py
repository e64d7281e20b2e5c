"""Opening an event stream of a session as the answer to a request."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from opentelemetry.trace import Span, SpanKind
from quart import Response, request

from services.edge.door import came_by_cookie
from services.edge.event_stream import STREAM_HEADERS, event_stream, refuse_body
from shared.telemetry import tracing

if TYPE_CHECKING:
    from services.edge.connection import Connection
    from services.edge.door import Doorkeeper
    from services.edge.edge import Edge
    from services.edge.selection import Selection
    from services.edge.view import View


async def streamed(
    edge: Edge, door: Doorkeeper, selection: Selection, route: str, view: View | None = None
) -> Response:
    """The stream of the session that the current request presents. Raises what `Edge.connect` raises.

    Args:
        route: the address as spans name it, without what differs from one user to the next.
    """
    refuse_body()
    # Connecting checks that nobody ended it.
    session = await door.presented_session()
    if request.method == "HEAD":
        await edge.check(session)
        return Response(headers=STREAM_HEADERS)
    connection = await edge.connect(session, selection, _address(), view)
    connection.span = _stream_span(connection, route)
    response = event_stream(connection, may_compress=edge.settings.compression)
    if came_by_cookie() and (renewed := door.cookie.renewed(session)):
        door.set_session(response, renewed)
    return response


def _stream_span(connection: Connection, route: str) -> Span:
    """The SERVER span of a stream, which ends with it; deliveries link to it."""
    parent = tracing.context_of(request.headers.get("traceparent"), request.headers.get("tracestate"))
    attributes: tracing.Attributes = {
        "http.request.method": "GET",
        "http.route": route,
        "http.response.status_code": int(HTTPStatus.OK),
        tracing.USER: connection.session.sub,
        tracing.CONNECTION: connection.id,
    }
    return tracing.begin(f"GET {route}", SpanKind.SERVER, attributes, parent=parent)


def _address() -> str:
    """The other end of the TCP connection: what a proxy says of its clients is not ours to believe."""
    client = (request.scope or {}).get("client")
    return str(client[0]) if client else ""
