"""`/metrics`, for Prometheus: in its own format, or as OpenMetrics with exemplars where it asks for that."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client.exposition import choose_encoder
from quart import Blueprint, Response, g, request

from shared.telemetry import metrics
from shared.web.problem import word_of


def blueprint() -> Blueprint:
    """The page, and the count of what this application refuses."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def show() -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(metrics.REGISTRY), content_type=content_type, headers={"Cache-Control": "no-store"})

    @routes.after_app_request
    async def count_refusals(response: Response) -> Response:
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            reason = g.get("refused_because") or word_of(response.status_code)
            metrics.refusals.labels(request.blueprint or "none", reason).inc()
        return response

    return routes
