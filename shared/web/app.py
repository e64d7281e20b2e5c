"""The Quart application that every service starts from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from typing import cast

from quart import Blueprint, Quart, Response, current_app, g, request
from quart.json.provider import DefaultJSONProvider
from quart.wrappers.request import Body as QuartBody
from quart.wrappers.request import Request as QuartRequest
from werkzeug.exceptions import HTTPException, RequestTimeout

from shared.model.errors import Busy, EventTooLarge
from shared.model.settings import Settings
from shared.web import health, metrics
from shared.web.asgi import HTTPConnection
from shared.web.health import Probe
from shared.web.problem import register_problems

# Routes set their own, smaller limits; this one stops what forgets to.
MAX_BODY_BYTES = 16 * 1024 * 1024
# A producer on a bad line sends 256 KiB in seconds; who takes longer holds a place for nothing.
BODY_TIMEOUT_S = 30
# Of all requests of this process together: bodies that arrive slowly, and those that are being worked on. As
# objects they take several times as much.
MAX_BODIES_BYTES = 32 * 1024 * 1024
# What is read on after an early refusal, so that the client gets to see the refusal (see below).
DISCARD_MAX_BYTES = 2 * 1024 * 1024
DISCARD_MAX_S = 2.0

_BODIES = "carillon-bodies"


def make_app(service: str, settings: Settings, *blueprints: Blueprint, probes: Mapping[str, Probe]) -> Quart:
    """An app with these blueprints, problem documents, `/healthz`, `/readyz` and `/metrics`.

    Args:
        service: its name, for logs.
        probes: what `/readyz` asks, by the name it is reported under; each is given `backend_timeout_s`.
    """
    app = Quart(f"carillon.{service}", static_folder=None, template_folder=None)
    app.request_class = Request
    app.asgi_http_class = HTTPConnection
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, BODY_TIMEOUT=BODY_TIMEOUT_S)
    # `//v1//events` would be redirected, and senders of webhooks count a redirect as a failure.
    app.url_map.merge_slashes = False
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False
        app.json.ensure_ascii = False
    register_problems(app)
    app.extensions[_BODIES] = Bodies(MAX_BODIES_BYTES)
    app.teardown_request(_forget_body)
    app.after_request(_let_refusals_be_read)
    app.register_blueprint(health.blueprint(settings.backend_timeout_s, probes))
    app.register_blueprint(metrics.blueprint())
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


class Body(QuartBody):
    """The body of one request, which its route may not want."""

    _is_dropped = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing more of it will come."""
        return self._complete.is_set()

    def drop(self) -> None:
        """Keeps nothing of what has come, nor of what will."""
        self._is_dropped = True
        self.clear()

    def append(self, data: bytes) -> None:
        """Takes what has come."""
        super().append(b"" if self._is_dropped else data)


class Request(QuartRequest):
    """A request whose body can be dropped."""

    body_class = Body

    @cached_property
    def blueprints(self) -> list[str]:
        """Of its route, the innermost first. Quart asks for them four times, and makes them anew each time."""
        return super().blueprints


class Bodies:
    """How many bytes of bodies a process holds. It refuses instead of waiting."""

    def __init__(self, max_bytes: int) -> None:
        self._free_bytes = max_bytes

    def check(self, size_bytes: int) -> None:
        """Raises `Busy` where so many are not free."""
        if size_bytes > self._free_bytes:
            raise Busy("as many requests are under way as this server takes")

    def take(self, size_bytes: int) -> None:
        """Raises `Busy` where so many are not free."""
        self.check(size_bytes)
        self._free_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        self._free_bytes += size_bytes


def drop_body() -> None:
    """Has nothing of the current request's body kept, however much of it comes."""
    cast(Body, request.body).drop()


async def limited_body(max_bytes: int) -> bytes:
    """The body of the current request, never holding much more than `max_bytes` of it.

    Raises `EventTooLarge` as soon as it is known to be longer, `Busy` where the bodies of all requests are
    too much, and werkzeug's 408 after `BODY_TIMEOUT_S`.
    """
    announced_bytes = request.content_length or 0
    if announced_bytes > max_bytes:
        raise _too_large(max_bytes)
    bodies: Bodies = current_app.extensions[_BODIES]
    bodies.check(announced_bytes)
    coming = cast(Body, request.body)
    body = bytearray()
    try:
        async with asyncio.timeout(None if coming.is_whole else BODY_TIMEOUT_S):
            async for chunk in coming:
                bodies.take(len(chunk))
                g.body_bytes = g.get("body_bytes", 0) + len(chunk)
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {BODY_TIMEOUT_S} s") from None
    return bytes(body)


def _too_large(max_bytes: int) -> EventTooLarge:
    return EventTooLarge("body", f"it is over {max_bytes} bytes", "send less, or a link to the rest")


async def _forget_body(_: BaseException | None) -> None:
    bodies: Bodies = current_app.extensions[_BODIES]
    bodies.give_back(g.pop("body_bytes", 0))


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
