"""Ingest as a function behind an HTTP gateway: `services.ingest.function.handler`.

The app is the one that serves everywhere else. What it needs is opened once a process, on one event loop, and
stays open from one invocation to the next. Between two of them the process may be frozen for minutes: nothing in it
runs, and servers take its connections for dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from services.ingest.service import open_ingest
from shared.model.errors import Unavailable
from shared.model.settings import Settings
from shared.telemetry import logs
from shared.telemetry.exporting import exporting
from shared.web.app import make_app
from shared.web.problem import CONTENT_TYPE
from shared.wiring import Backends, open_backends

# After so long without an invocation the connections may be gone. Asking costs a millisecond.
IDLE_S = 5.0
# The first question finds that a connection is gone, the second opens another.
WAKE_ATTEMPTS = 2

Document = dict[str, Any]


class Function:
    """Answers the documents that a gateway makes of requests: API Gateway v1 and v2, load balancers.

    Args:
        clock: seconds, also those in which the process was frozen.

    Raises `InvalidInput`, naming the setting or the file, where one is wrong.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        # The adapter runs whichever loop is set.
        asyncio.set_event_loop(self._loop)
        self._opened = contextlib.AsyncExitStack()
        self.backends = self._loop.run_until_complete(self._open(settings))
        self._last_used_at = clock()

    def __call__(self, event: Document, context: object) -> Document:
        """The answer to one request, as the gateway wants it."""
        if self._clock() - self._last_used_at > IDLE_S:
            self._loop.run_until_complete(self._wake())
        try:
            return self._answer(event, context)  # type: ignore[arg-type]  # the context is handed through
        finally:
            self._last_used_at = self._clock()

    def close(self) -> None:
        """Ends what is open."""
        self._loop.run_until_complete(self._opened.aclose())
        self._loop.close()
        asyncio.set_event_loop(None)

    async def _open(self, settings: Settings) -> Backends:
        opened = self._opened.enter_async_context
        backends = await opened(open_backends(settings))
        await opened(exporting("ingest", settings, backends.journeys))
        # A frozen process must not hold requests that the broker handed it.
        doors = await opened(open_ingest(settings, backends, serves_amqp=False))
        probes = {"broker": backends.broker.ping, "log": backends.event_log.head}
        app = make_app("ingest", settings, *doors.blueprints, probes={**probes, **doors.probes})
        text = [*DEFAULT_TEXT_MIME_TYPES, CONTENT_TYPE]
        # Its own lifespan would open and close everything with each invocation.
        base_path = settings.function_base_path
        self._answer = Mangum(app, lifespan="off", text_mime_types=text, api_gateway_base_path=base_path)  # type: ignore[arg-type]  # Quart is an ASGI application
        return backends

    async def _wake(self) -> None:
        """Finds out which connections did not outlive the pause, so that the request need not."""
        await asyncio.gather(_reached(self.backends.broker.ping), _reached(self.backends.event_log.head))


async def _reached(ask: Callable[[], Any]) -> None:
    for _ in range(WAKE_ATTEMPTS):
        with contextlib.suppress(Unavailable):
            await ask()
            return


_function: Function | None = None


def handler(event: Document, context: object) -> Document:
    """What the function's configuration names. Settings come from the environment, as for any service."""
    global _function
    if _function is None:
        settings = Settings.load()
        logs.set_up(settings)
        _function = Function(settings)
    return _function(event, context)
