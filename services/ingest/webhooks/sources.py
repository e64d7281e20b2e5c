"""The file of webhook sources: YAML, checked whole, with the secrets that it names.

sources:
  github:
    kind: github
    secret: {env: GITHUB_WEBHOOK_SECRET}
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.ingest.parts import InvalidFile, Part, read
from services.ingest.reloading import Reloaded
from services.ingest.webhooks.declarations import KINDS, AnySource
from services.ingest.webhooks.secret_places import NoSecret
from services.ingest.webhooks.source import Source
from shared.model.checks import flaw_of

MAX_SOURCES = 1000

Sources = Mapping[str, Source]
Places = dict[tuple[str, ...], Part]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class SourcesFile:
    """The file of sources, and the files of the secrets that it names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.files: tuple[Path, ...] = (path,)
        """Those that the last reading came to, also where it failed: a missing one may come."""

    def load(self) -> Sources:
        """The sources by name. Raises `InvalidFile`."""
        self.files = (self._path,)
        sources = {}
        for name, part in _parts(read(self._path)).items():
            declared = _declared(name, part)
            folder = self._path.parent
            self.files += tuple(file for place in declared.secrets if (file := place.path(folder)))
            sources[name] = _with_secrets(name, declared, part, folder)
        return sources


@asynccontextmanager
async def open_sources(path: Path | None) -> AsyncIterator[Reloaded[Sources]]:
    """The sources of the file, followed until the end; none without a file. Raises `InvalidFile`."""
    if path is None:
        yield Reloaded("webhook sources", dict, tuple)
        return
    file = SourcesFile(path)
    sources = await asyncio.to_thread(Reloaded[Sources], "webhook sources", file.load, lambda: file.files)
    async with sources.following():
        yield sources


def _parts(whole: Part) -> dict[str, Part]:
    """The declarations by the names of their sources."""
    parts = whole.fields("the file", ("sources",))
    if "sources" not in parts:
        raise whole.place.wrong("it declares no sources", "write sources: with one below")
    found = parts["sources"].members("sources")
    if len(found) > MAX_SOURCES:
        raise parts["sources"].place.wrong(f"{len(found)} sources", f"declare at most {MAX_SOURCES}")
    return found


def _declared(name: str, part: Part) -> AnySource:
    if not _NAME.fullmatch(name):
        raise part.place.wrong(f"{name[:80]!r} is no name of a source", "use a-z, 0-9 and hyphens, such as github")
    fields = part.members(f"source {name}")
    if "kind" not in fields:
        raise part.place.wrong(f"source {name} has no kind", f"add kind: with one of {', '.join(KINDS)}")
    kind = fields["kind"].text("kind")
    if kind not in KINDS:
        raise fields["kind"].place.wrong(f"{kind[:40]!r} is no kind of source", f"use one of {', '.join(KINDS)}")
    places: Places = {}
    try:
        return KINDS[kind].model_validate(_plain(part, (), places))
    except ValidationError as refused:
        raise _as_invalid_file(refused, name, places, KINDS[kind]) from None


def _plain(part: Part, where: tuple[str, ...], places: Places) -> Any:
    """The part as mappings, lists and texts: the models say what a text means. Notes where each is."""
    places[where] = part
    if part.is_mapping:
        members = part.members(where[-1] if where else "it").items()
        return {name: _plain(member, (*where, name), places) for name, member in members}
    if part.is_list:
        items = enumerate(part.items(where[-1]))
        return [_plain(item, (*where, str(number)), places) for number, item in items]
    return None if part.is_null else part.node.value


def _as_invalid_file(refused: ValidationError, name: str, places: Places, kind: type[AnySource]) -> InvalidFile:
    flaw = flaw_of(refused)
    around = next(part for length in range(len(flaw.where), -1, -1) if (part := places.get(flaw.where[:length])))
    field = ".".join((name, *flaw.where))
    match flaw.kind:
        case "missing":
            holder = ".".join((name, *flaw.where[:-1]))
            problem, fix = f"{holder} has no {flaw.where[-1]}", f"add {flaw.where[-1]}:"
        case "extra_forbidden" if len(flaw.where) == 1:
            problem, fix = f"{field}: there is no such key here", f"use one of {', '.join(kind.model_fields)}"
        case _:
            problem, fix = f"{field}: {flaw.problem}", flaw.fix or "see docs/operating/webhooks.md"
    return around.place.wrong(problem, fix)


def _with_secrets(name: str, declared: AnySource, part: Part, folder: Path) -> Source:
    try:
        return declared.source(name, tuple(place.read(folder) for place in declared.secrets))
    except NoSecret as missing:
        raise part.place.wrong(f"{name}: {missing.problem}", missing.fix) from None
