"""The catalogue over HTTP: a page, the schemas, and the AsyncAPI document."""

from __future__ import annotations

from quart import Blueprint, Response, send_from_directory

from services.ingest.catalogue import asyncapi, page
from services.ingest.catalogue.reloading import LiveCatalogue
from shared.web.problem import Refusal

PATH = "/catalogue"
_SCHEMA_JSON = "application/schema+json"
# The page loads its style, and runs nothing: what schemas hold must not change that.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def blueprint(catalogue: LiveCatalogue) -> Blueprint:
    """All addresses."""
    routes = Blueprint("catalogue", __name__)

    @routes.get(PATH)
    async def shown() -> Response:
        return Response(catalogue.value.html, content_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)

    @routes.get(f"{PATH}/<any('style.css', 'icon.svg'):name>")
    async def file(name: str) -> Response:
        return await send_from_directory(page.FOLDER, name, cache_timeout=0)

    @routes.get(f"{PATH}/<path:name>")
    async def schema(name: str) -> Response:
        if name not in (schemas := catalogue.value.schemas):
            raise Refusal(404, "the catalogue has no such schema", fix=f"see {PATH}")
        return Response(schemas[name], content_type=_SCHEMA_JSON, headers={"Cache-Control": "no-cache"})

    @routes.get(asyncapi.PATH)
    async def document() -> Response:
        headers = {"Cache-Control": "no-cache"}
        return Response(catalogue.value.asyncapi, content_type="application/json", headers=headers)

    return routes
