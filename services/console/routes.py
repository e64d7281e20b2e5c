"""The operators' page. Small for now: where the log stands, and whether its backends answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from html import escape

from quart import Blueprint, Response

from shared.model.entry import Head
from shared.model.errors import Unavailable
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Carillon console</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
  th {{ text-align: left; font-weight: 600; padding: .25rem 2rem .25rem 0; vertical-align: top; }}
  .away {{ color: #a11; }}
</style>
<h1>Carillon console</h1>
<table>
{rows}
</table>
<p>Reload for the present state. This page shows nothing more yet; the rest is in
<code>carillon log</code> and <code>carillon doctor</code>.</p>
</html>
"""
# The page loads nothing and runs nothing; what is in the log must not change that.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def blueprint(broker: Broker, event_log: EventLog) -> Blueprint:
    """`/console`, for an app of its own or for `carillon dev`."""
    routes = Blueprint("console", __name__)

    @routes.get("/console")
    async def overview() -> Response:
        (_, broker_away), (head, log_away) = await asyncio.gather(_asked(broker.ping), _asked(event_log.head))
        rows = [_state("Broker", broker_away), _state("Log", log_away)]
        if isinstance(head, Head):
            rows += [_row("Log id", head.log_id), _row("Last position", f"{head.last:,}")]
            rows += [_row("Kept", _kept(head))]
        return Response(_PAGE.format(rows="\n".join(rows)), content_type="text/html; charset=utf-8", headers=_HEADERS)

    return routes


async def _asked(question: Callable[[], Awaitable[object]]) -> tuple[object, str | None]:
    """The answer, or why there is none."""
    try:
        return await question(), None
    except Unavailable as away:
        return None, str(away)


def _kept(head: Head) -> str:
    return (
        f"{head.last - head.floor:,} events, from position {head.floor + 1:,}" if head.last > head.floor else "nothing"
    )


def _state(name: str, away: str | None) -> str:
    return _row(name, "answers") if away is None else _row(name, away, "away")


def _row(name: str, value: str, kind: str = "") -> str:
    return f'<tr><th scope="row">{escape(name)}</th><td class="{kind}">{escape(value)}</td></tr>'
