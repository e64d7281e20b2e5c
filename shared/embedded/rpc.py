"""Request and reply within this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from shared.model.errors import BrokerUnavailable
from shared.ports.broker import RPC_AT_ONCE, RpcAnswer, RpcRequest

# Callers that wait while nobody serves, or while all who do are busy; over it a call is refused at once.
MAX_WAITING_CALLS = 1000
# For replies under way when a server is left.
FINISH_WITHIN_S = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    request: RpcRequest
    reply: asyncio.Future[bytes]


@dataclass(eq=False, slots=True)
class _Server:
    answer: RpcAnswer
    under_way: set[asyncio.Task[None]] = field(default_factory=set)


class Calls:
    """Who asks, and who serves."""

    def __init__(self) -> None:
        self._waiting: deque[_Call] = deque()
        self._servers: list[_Server] = []

    async def call(self, body: bytes, timeout_s: float) -> bytes:
        """See `shared.ports.broker.Broker.call`."""
        if len(self._waiting) >= MAX_WAITING_CALLS:
            raise BrokerUnavailable(f"{MAX_WAITING_CALLS} calls wait already")
        call = _Call(RpcRequest(body, uuid4().hex), asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._hand_out()
        try:
            async with asyncio.timeout(timeout_s):
                return await call.reply
        except TimeoutError:
            raise BrokerUnavailable("nobody answered in time") from None
        finally:
            call.reply.cancel()
            with contextlib.suppress(ValueError):
                self._waiting.remove(call)

    @asynccontextmanager
    async def serving(self, answer: RpcAnswer) -> AsyncIterator[None]:
        """See `shared.ports.broker.Broker.serve_rpc`."""
        server = _Server(answer)
        self._servers.append(server)
        self._hand_out()
        try:
            yield
        finally:
            self._servers.remove(server)
            if server.under_way:
                _, late = await asyncio.wait(server.under_way, timeout=FINISH_WITHIN_S)
                for task in late:
                    task.cancel()

    def _hand_out(self) -> None:
        """To whoever has the least to do, as long as somebody has room."""
        while self._waiting and self._servers:
            server = min(self._servers, key=lambda each: len(each.under_way))
            if len(server.under_way) >= RPC_AT_ONCE:
                return
            task = asyncio.create_task(_carry_out(server.answer, self._waiting.popleft()), name="rpc request")
            server.under_way.add(task)
            task.add_done_callback(server.under_way.discard)
            task.add_done_callback(lambda _: self._hand_out())


async def _carry_out(answer: RpcAnswer, call: _Call) -> None:
    try:
        reply = await answer(call.request)
    except Exception:
        _log.exception("a request failed, and stays without a reply")
        return
    if reply is not None and not call.reply.done():
        call.reply.set_result(reply)
