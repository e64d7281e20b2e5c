"""The Quart application that every service starts from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from http import HTTPStatus

from quart import Blueprint, Quart, Response, request
from quart.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException, RequestTimeout

from shared.model.errors import EventTooLarge
from shared.model.settings import Settings
from shared.web import health, metrics
from shared.web.health import Probe
from shared.web.problem import register_problems

# Routes set their own, smaller limits; this one stops what forgets to.
MAX_BODY_BYTES = 16 * 1024 * 1024
# A producer on a bad line sends 256 KiB in seconds; who takes longer holds a place for nothing.
BODY_TIMEOUT_S = 30
# What is read on after an early refusal, so that the client gets to see the refusal (see below).
DISCARD_MAX_BYTES = 2 * 1024 * 1024
DISCARD_MAX_S = 2.0


def make_app(service: str, settings: Settings, *blueprints: Blueprint, probes: Mapping[str, Probe]) -> Quart:
    """An app with these blueprints, problem documents, `/healthz`, `/readyz` and `/metrics`.

    Args:
        service: its name, for logs.
        probes: what `/readyz` asks, by the name it is reported under; each is given `backend_timeout_s`.
    """
    app = Quart(f"carillon.{service}", static_folder=None, template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, BODY_TIMEOUT=BODY_TIMEOUT_S)
    # `//v1//events` would be redirected, and senders of webhooks count a redirect as a failure.
    app.url_map.merge_slashes = False
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False
        app.json.ensure_ascii = False
    register_problems(app)
    app.after_request(_let_refusals_be_read)
    app.register_blueprint(health.blueprint(settings.backend_timeout_s, probes))
    app.register_blueprint(metrics.blueprint())
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


async def limited_body(max_bytes: int) -> bytes:
    """The body of the current request, never holding much more than `max_bytes` of it.

    Raises `EventTooLarge` as soon as it is known to be longer, and werkzeug's 408 after `BODY_TIMEOUT_S`.
    """
    too_large = EventTooLarge("body", f"it is over {max_bytes} bytes", "send less, or a link to the rest")
    if (request.content_length or 0) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.body:
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {BODY_TIMEOUT_S} s") from None
    return bytes(body)


async def _let_refusals_be_read(response: Response) -> Response:
    """Reads on what a refused client still sends.

    Closing with unread bytes makes the kernel send RST, and a client that is still writing then
    sees a broken connection instead of its 401 or 413.
    """
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        with contextlib.suppress(TimeoutError, HTTPException):
            async with asyncio.timeout(DISCARD_MAX_S):
                await _discard_body()
    return response


async def _discard_body() -> None:
    discarded = 0
    async for chunk in request.body:
        discarded += len(chunk)
        if discarded > DISCARD_MAX_BYTES:
            return
