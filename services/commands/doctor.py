"""`carillon doctor`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from services.commands.check import Check
from services.commands.group import fail
from services.commands.options import data_option, json_option, overrides


@click.command()
@data_option
@click.option("--service", "services", metavar="URL", multiple=True, help="Ask this service, too, how it is.")
@json_option
def doctor(data: Path | None, services: tuple[str, ...], as_json: bool) -> None:
    """Check settings, secrets, broker, log, lag, clock and traces, and say what to do. Status 1 when a check fails.

    \b
    carillon doctor
    carillon doctor --data .carillon --service http://127.0.0.1:8080
    """
    from services.commands import examination

    async def examine() -> list[Check]:
        return [check async for check in examination.examine(overrides(data), services)]

    checks = asyncio.run(examine())
    failed = [check.name for check in checks if not check.ok]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            fix = f"; {check.fix}" if check.fix else ""
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.found}{fix}")
    if failed:
        fail(f"failed: {', '.join(failed)}")
