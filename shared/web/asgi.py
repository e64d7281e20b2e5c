"""One request between Hypercorn and Quart, at less than it costs by ASGI alone.

What the client sends is pushed on one side and wanted pushed on the other: ASGI has a queue and a task in between.
Quart has three tasks more for each request, and hands over in three parts an answer that is there as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from hypercorn.asyncio import task_group
from hypercorn.config import Config
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    Scope,
)
from quart import Response
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Request
from quart.wrappers.response import DataBody

PUSHED = "carillon.pushed"
"""In `scope["extensions"]`: an `Incoming`, which pushes what the client sends to whoever asks it to."""

Take = Callable[[Any], None]


class Incoming:
    """What the client of one request sends: a queue, as ASGI has it, until somebody takes each thing as it comes."""

    def __init__(self) -> None:
        # What one read of the socket brings before the application begins, and no more.
        self._waiting: asyncio.Queue[ASGIReceiveEvent] = asyncio.Queue()
        self._take: Take | None = None

    async def put(self, event: ASGIReceiveEvent) -> None:
        if self._take is None:
            self._waiting.put_nowait(event)
        else:
            self._take(event)

    async def receive(self) -> ASGIReceiveEvent:
        """The next of them; nobody takes them otherwise."""
        return await self._waiting.get()

    def push(self, take: Take) -> None:
        """Has it take what has come, and from now on what comes."""
        self._take = take
        while not self._waiting.empty():
            take(self._waiting.get_nowait())


def _leave(event: Any) -> None:
    """Nobody takes it: the request is over. All that it was made of would hold each other until the collector came."""


class TaskGroup(task_group.TaskGroup):
    """Hypercorn's tasks of one connection; requests are begun in it with an `Incoming`."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        if scope["type"] != "http":
            return await super().spawn_app(app, config, scope, send)
        incoming = Incoming()
        scope["extensions"][PUSHED] = {"incoming": incoming}
        run_aside = partial(self._loop.run_in_executor, None)
        self.spawn(task_group._handle, app, config, scope, incoming.receive, send, run_aside, None)
        return incoming.put


class HTTPConnection(ASGIHTTPConnection):
    """Handles the request in the server's own task, which is cancelled when the client goes."""

    _is_answered = _is_left = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        extensions: dict[str, Any] = self.scope.get("extensions") or {}
        if PUSHED not in extensions:
            await super().__call__(receive, send)
            return
        request = self._create_request_from_scope(send)
        handling = cast("asyncio.Task[None]", asyncio.current_task())
        incoming: Incoming = extensions[PUSHED]["incoming"]
        incoming.push(partial(self._take, request, handling))
        try:
            await self.handle_request(request, send)
        except asyncio.CancelledError:
            if not self._is_left:
                raise
            handling.uncancel()
        finally:
            incoming.push(_leave)

    def _take(self, request: Request, handling: asyncio.Task[None], event: Any) -> None:
        """What `handle_messages` does with it."""
        if event["type"] == "http.request":
            request.body.append(event["body"])
            if not event["more_body"]:
                request.body.set_complete()
        elif not (self._is_answered and asyncio.current_task() is handling):
            self._is_left = True
            handling.cancel()

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        """Answers it; whoever does not take the answer within the response's time is left."""
        response = await self.app.handle_request(request)
        timeout = getattr(response, "timeout", Ellipsis)
        try:
            async with asyncio.timeout(self.app.config["RESPONSE_TIMEOUT"] if timeout is Ellipsis else timeout):
                await self._send_response(send, response)
        except TimeoutError:
            pass

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        body = response.response if isinstance(response, Response) else None
        if not isinstance(body, DataBody):
            await super()._send_response(partial(self._send, send), response)
            return
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": encode_headers(response.headers),
        }
        whole = {"type": "http.response.body", "body": body.data[body.begin : body.end], "more_body": False}
        await send(cast(HTTPResponseStartEvent, start))
        await self._send(send, cast(HTTPResponseBodyEvent, whole))

    async def _send(self, send: ASGISendCallable, event: ASGISendEvent) -> None:
        """Sends it. With the last of a response Hypercorn says, in this same task, that the client has gone.

        Said by another task it is so: by HTTP/2 the last waits until the client has taken all, and would for ever.
        """
        self._is_answered = event["type"] == "http.response.body" and not event["more_body"]
        await send(event)
