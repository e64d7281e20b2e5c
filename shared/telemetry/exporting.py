"""Where a process's spans go: to the journeys of events, and by OTLP to whoever collects traces."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from shared.model.settings import Settings
from shared.ports.journeys import JourneyStore
from shared.telemetry import otlp, tracing
from shared.telemetry.span_queue import Send, SpanQueue
from shared.telemetry.steps import steps_of

_INSTANCE = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


@asynccontextmanager
async def exporting(service: str, settings: Settings, journeys: JourneyStore) -> AsyncIterator[None]:
    """Has this process record its spans and send them, as the settings say, until it is left.

    Raises `InvalidInput`, naming the setting, where OTLP is asked for and cannot be.
    """
    async with contextlib.AsyncExitStack() as stack:
        queues = []
        if settings.trace_ratio > 0:
            if settings.journeys_kept_s > 0:
                queues.append(SpanQueue("journeys", _keeping(journeys, settings.journeys_kept_s, service)))
            if settings.otlp_endpoint is not None:
                queues.append(SpanQueue("otlp", stack.enter_context(otlp.sending(settings))))
        tracing.set_up(_resource(service, settings), settings.trace_ratio, *queues)
        for queue in queues:
            await stack.enter_async_context(_running(queue))
        try:
            yield
        finally:
            tracing.turn_off()


def _keeping(journeys: JourneyStore, kept_s: float, service: str) -> Send:
    process = f"{service} {_INSTANCE}"

    async def keep(spans: Sequence[ReadableSpan]) -> None:
        await journeys.keep([step for span in spans for step in steps_of(span, process)], kept_s)

    return keep


def _resource(service: str, settings: Settings) -> Resource:
    """Who makes these spans; `OTEL_RESOURCE_ATTRIBUTES` adds to it."""
    return Resource.create(
        {
            "service.name": f"carillon-{service}",
            "service.namespace": settings.namespace,
            "service.version": version("carillon"),
            "service.instance.id": _INSTANCE,
        }
    )


@asynccontextmanager
async def _running(queue: SpanQueue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(), name="spans")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await queue.finish()
