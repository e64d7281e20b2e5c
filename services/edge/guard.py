"""What holds for every route of the edge: whose pages may use it, and how its own refusals are answered."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from quart import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from services.edge import origins
from services.edge.grants import NotGranted
from services.edge.limits import TooMany
from services.edge.sessions import NoSession
from shared.identity.jwts import InvalidToken
from shared.model.errors import InvalidInput
from shared.web.problem import Refusal, problem

STREAM_PATH = "/v1/events"


class AnyText(BaseConverter):
    """In an address: also what holds line ends, or begins, ends or goes on with what separates its parts."""

    regex = r"(?s:.+?)"
    part_isolating = False


def guarded_blueprint(name: str, allowed_origins: Collection[str]) -> Blueprint:
    """A blueprint that refuses foreign pages, lets allowed ones read, and answers 401, 403 and 429 as the edge does."""
    routes = Blueprint(name, __name__)
    routes.record(lambda setup: setup.app.url_map.converters.update(text=AnyText))

    @routes.before_request
    async def refuse_foreign_pages() -> None:
        origin, fetch_site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        # A link or an image on another site may ask to read; the answer is kept from that page anyway.
        # Not so a stream: by the cookie of its user it takes one of their places, and may close their oldest.
        if origin is None and request.method in ("GET", "HEAD") and not request.path.endswith("/events"):
            return
        if origins.is_foreign(origin, fetch_site, request.host, allowed_origins):
            fix = "add the page's origin to CARILLON_CORS_ORIGINS"
            raise Refusal(403, f"pages of {(origin or fetch_site)!r} may not use this", field="Origin", fix=fix)

    @routes.after_request
    async def let_allowed_pages_read(response: Response) -> Response:
        is_preflight = request.method == "OPTIONS"
        headers = origins.cors_headers(request.headers.get("Origin"), allowed_origins, preflight=is_preflight)
        response.vary.add(headers["Vary"])
        response.headers.update({name: value for name, value in headers.items() if name != "Vary"})
        return response

    for refused in (NoSession, InvalidToken):
        routes.register_error_handler(refused, _unauthorized)
    routes.register_error_handler(NotGranted, _forbidden)
    routes.register_error_handler(TooMany, _too_many)
    return routes


async def _unauthorized(refused: InvalidInput) -> Response:
    challenge = {"WWW-Authenticate": 'Bearer realm="carillon"'}
    return problem(401, "Not signed in", refused.problem, field=refused.field, fix=refused.fix, headers=challenge)


async def _forbidden(refused: NotGranted) -> Response:
    return problem(403, "Forbidden", refused.problem, field=refused.field, fix=refused.fix)


async def _too_many(refused: TooMany) -> Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE if refused.of_server else HTTPStatus.TOO_MANY_REQUESTS
    retry = {"Retry-After": str(refused.retry_after_s)}
    fix = f"try again in {refused.retry_after_s} s, or use one stream for all tabs"
    return problem(status, status.phrase, refused.what, fix=fix, headers=retry)
