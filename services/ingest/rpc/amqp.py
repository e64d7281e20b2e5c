"""The door for JSON-RPC by way of the broker: the same methods for whoever may publish to its queue of requests."""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from opentelemetry.trace import Span, SpanKind

from services.ingest.rpc.answering import Answering, Caller
from shared.model.producer import Producer
from shared.ports.broker import Broker, RpcRequest
from shared.telemetry import tracing

# Who they are is between them and the broker: it lets them publish here or not, and vouches for a name
# only where they send one. What they may say is therefore not narrowed.
ANONYMOUS = "amqp"
# Between tries of a notification that could not be stored; jittered.
RETRY_S = 1.0


def serving(broker: Broker, answering: Answering) -> AbstractAsyncContextManager[None]:
    """Answers requests until it is left."""

    async def answer(request: RpcRequest) -> bytes | None:
        with _span(request):
            return await _answered(answering, request)

    return broker.serve_rpc(answer)


async def _answered(answering: Answering, request: RpcRequest) -> bytes | None:
    """Calls are told at once that the log is away; notifications, which hear nothing, wait for it here."""
    name = ANONYMOUS if request.sender is None else f"{ANONYMOUS}:{request.sender}"
    # A request comes again where a server ended over it; its id then makes its events the same.
    caller = Caller(Producer(name), request.id or str(uuid.uuid4()))
    while True:
        answered = await answering.answer(request.body, caller)
        if answered.body is not None or answered.postponed is None:
            return answered.body
        await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))


def _span(request: RpcRequest) -> AbstractContextManager[Span]:
    parent = tracing.context_of(request.traceparent, request.tracestate)
    return tracing.span(f"process {tracing.RPC}", SpanKind.CONSUMER, _ATTRIBUTES, parent=parent)


_ATTRIBUTES: tracing.Attributes = {
    "messaging.system": tracing.SYSTEM,
    "messaging.destination.name": tracing.RPC,
    "messaging.operation.type": "process",
}
