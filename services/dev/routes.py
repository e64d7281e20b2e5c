"""The demo page, and the demo login that stands for your own."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from quart import Blueprint, Response, jsonify, request, send_from_directory

from services.dev.programs import PROGRAMS, Programs
from services.edge import origins
from services.edge.tokens import sign_token
from shared.model.errors import InvalidInput
from shared.web.app import limited_body
from shared.web.problem import Refusal

PAGE = Path(__file__).parent / "page"
DEMO_USERS = ("alice", "bob")
DEMO_TAGS = ("topic:builds",)
DEMO_TOKEN_TTL_S = 12 * 3600
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
MAX_BODY_BYTES = 1024
# Real seconds for a simulated one.
MAX_PACE = 5.0


def blueprint(jwt_secret: str, programs: Programs) -> Blueprint:
    """`/`, `/dev/…`, `/dev/token` and `/dev/programs`."""
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
        user = _one_of("user", request.args.get("user"), DEMO_USERS)
        signed = sign_token(jwt_secret, sub=user, tags=DEMO_TAGS, ttl_s=DEMO_TOKEN_TTL_S)
        return Response(signed, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})

    @routes.post("/dev/programs")
    async def start_program() -> tuple[Response, int]:
        """Starts an example, whose events go to `user`; answers which stream that is."""
        if origins.is_foreign(request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"), request.host, ()):
            raise Refusal(HTTPStatus.FORBIDDEN, "other sites' pages may not start programs here", field="Origin")
        asked = _object(await limited_body(MAX_BODY_BYTES))
        program = PROGRAMS[_one_of("program", asked.get("program"), tuple(PROGRAMS))]
        user = _one_of("user", asked.get("user"), DEMO_USERS)
        run = await programs.start(program, user, f"http://{request.host}", _pace(asked.get("pace", 1)))
        return jsonify(subject=run.subject, command=run.command), HTTPStatus.ACCEPTED

    return routes


def _one_of(field: str, text: object, known: tuple[str, ...]) -> str:
    if text not in known:
        raise InvalidInput(field, f"{str(text)[:40]!r} is not known here", f"use one of {', '.join(known)}")
    return str(text)


def _pace(pace: object) -> float:
    if isinstance(pace, bool) or not isinstance(pace, int | float) or not 0 <= pace <= MAX_PACE:
        raise InvalidInput("pace", "it is no number that fits", f"use 0 to {MAX_PACE:g} seconds for a simulated one")
    return float(pace)


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        fix = 'send {"program": "workflow", "user": "alice"}'
        raise InvalidInput("body", "it is no JSON object", fix)
    return asked
