"""The first page: is it healthy, how much, how fast, and where does it wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from services.console.figures import figures
from services.console.sampling import SAMPLE_EVERY_S
from shared.web.health import finding

if TYPE_CHECKING:
    from services.console.routes import Console

DRAWN_EVERY_S = SAMPLE_EVERY_S / 2


def add_to(routes: Blueprint, console: Console) -> None:
    """The page and its live part."""

    async def draw() -> str:
        return await render_template("overview_live.html", **await _seen(console))

    @routes.get("")
    async def overview() -> str:
        return await render_template("overview.html", **await _seen(console))

    @routes.get("/live/overview")
    async def overview_live() -> Response:
        return console.islands.island(draw, DRAWN_EVERY_S)


async def _seen(console: Console) -> Mapping[str, object]:
    sampler = console.sampler
    return {
        "figures": figures(sampler.samples),
        "sample": sampler.samples[-1] if sampler.samples else None,
        "away": sampler.away if sampler.samples else None,
        "silent": sorted(sampler.silent),
        "parts": await _parts(console),
    }


async def _parts(console: Console) -> Mapping[str, tuple[str, str]]:
    """Each part's status, and what it says."""
    names = list(console.probes)
    found = await asyncio.gather(*(finding(console.probes[name], console.timeout_s) for name in names))
    return dict(zip(names, found, strict=True))
