"""Spans by OTLP, with OpenTelemetry's own exporters, which are an extra: gRPC alone takes 19 MB."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.telemetry.span_queue import SEND_WITHIN_S, NotSent, Send


@contextmanager
def sending(settings: Settings) -> Iterator[Send]:
    """Sends spans to `settings.otlp_endpoint`. Raises `InvalidInput`.

    The exporters wait and try again by themselves, up to their timeout.
    """
    exporter = _exporter(settings)

    async def send(spans: Sequence[ReadableSpan]) -> None:
        if await _exported(exporter, spans) is not SpanExportResult.SUCCESS:
            raise NotSent(f"{settings.otlp_endpoint} did not take them")

    try:
        yield send
    finally:
        # Wakes an export that waits to be tried again.
        exporter.shutdown()


async def _exported(exporter: SpanExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
    """In a thread that a process which ends does not wait for, as it would for an executor's."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[SpanExportResult] = loop.create_future()

    def settle(result: SpanExportResult) -> None:
        if not done.done():
            done.set_result(result)

    def export() -> None:
        result = exporter.export(spans)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=export, name="otlp", daemon=True).start()
    return await done


def _exporter(settings: Settings) -> SpanExporter:
    endpoint, headers = settings.otlp_endpoint or "", settings.otlp_headers_by_name()
    timeout_s = SEND_WITHIN_S - 1
    try:
        if settings.otlp_protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            return GrpcExporter(endpoint=endpoint, headers=headers, timeout=timeout_s)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
    except ImportError:
        fix = "install them: pip install 'carillon[otlp]'"
        raise InvalidInput("CARILLON_OTLP_ENDPOINT", "the exporters are not installed", fix) from None
    if urlsplit(endpoint).path in ("", "/"):
        endpoint = f"{endpoint.rstrip('/')}/v1/traces"
    return HttpExporter(endpoint=endpoint, headers=headers, timeout=timeout_s)
