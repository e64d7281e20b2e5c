"""The catalogue in force, with the documents that show it: made anew when a schema of the folder changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.ingest.catalogue import asyncapi, page
from services.ingest.catalogue.catalogue import Catalogue
from services.ingest.catalogue.loading import InvalidSchema, files_of, load
from services.ingest.reloading import Reloaded


@dataclass(frozen=True, slots=True)
class Shown:
    """A catalogue, and all that is served of it."""

    catalogue: Catalogue
    html: str
    asyncapi: str
    schemas: Mapping[str, str]
    """By their paths."""

    @classmethod
    def of(cls, catalogue: Catalogue, exchange: str) -> Shown:
        types = {f"{name}.json": _json(each.schema) for name, each in catalogue.types.items()}
        definitions = {path: _json(schema) for path, schema in catalogue.definitions.items()}
        return cls(catalogue, page.page(catalogue), _json(asyncapi.document(catalogue, exchange)), types | definitions)


LiveCatalogue = Reloaded[Shown]


@asynccontextmanager
async def open_catalogue(folder: Path | None, exchange: str) -> AsyncIterator[LiveCatalogue]:
    """Our own types and those of the folder, which is followed until the end. Raises `InvalidSchema` for a bad one.

    Args:
        exchange: to which AMQP producers publish.
    """

    def made() -> Shown:
        return Shown.of(load(folder), exchange)

    if folder is None:
        yield LiveCatalogue("catalogue", made, tuple)
        return
    catalogue = await asyncio.to_thread(LiveCatalogue, "catalogue", made, lambda: _watched(folder))
    async with catalogue.following():
        yield catalogue


def _watched(folder: Path) -> Iterable[Path]:
    try:
        return files_of(folder)
    except InvalidSchema:
        return ()


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
