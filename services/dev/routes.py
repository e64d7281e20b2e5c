"""The demo page, and the demo login that stands for your own."""

from __future__ import annotations

from pathlib import Path

from quart import Blueprint, Response, request, send_from_directory

from services.edge.tokens import sign_token
from shared.model.errors import InvalidInput
from shared.web.problem import Refusal

PAGE = Path(__file__).parent / "page"
DEMO_USERS = ("alice", "bob")
DEMO_TAGS = ("topic:builds",)
DEMO_TOKEN_TTL_S = 12 * 3600
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


def blueprint(jwt_secret: str) -> Blueprint:
    """`/`, `/dev/…` and `/dev/token`."""
    routes = Blueprint("dev", __name__)

    @routes.before_app_request
    async def only_loopback() -> None:
        # A foreign page may point its own name at 127.0.0.1; its requests then carry that name.
        if request.host.rsplit(":", 1)[0] not in LOOPBACK_HOSTS:
            raise Refusal(421, f"{request.host!r} is not this machine", field="Host", fix="use http://127.0.0.1")

    @routes.get("/")
    async def page() -> Response:
        return await send_from_directory(PAGE, "index.html", cache_timeout=0)

    @routes.get("/dev/<path:name>")
    async def file(name: str) -> Response:
        return await send_from_directory(PAGE, name, cache_timeout=0)

    @routes.get("/dev/token")
    async def token() -> Response:
        user = request.args.get("user", "")
        if user not in DEMO_USERS:
            raise InvalidInput("user", f"{user[:40]!r} is no demo user", f"use one of {', '.join(DEMO_USERS)}")
        signed = sign_token(jwt_secret, sub=user, tags=DEMO_TAGS, ttl_s=DEMO_TOKEN_TTL_S)
        return Response(signed, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})

    return routes
