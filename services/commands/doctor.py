"""`carillon doctor`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from services.commands.group import fail
from services.commands.options import data_option, json_option, overrides


@click.command()
@data_option
@json_option
def doctor(data: Path | None, as_json: bool) -> None:
    """Check settings, secrets, broker, log and clock, and say what to do. Status 1 when a check fails.

    \b
    carillon doctor
    carillon doctor --data .carillon
    """
    from services.commands import examination

    async def examine() -> list[examination.Check]:
        return [check async for check in examination.examine(overrides(data))]

    checks = asyncio.run(examine())
    failed = [check.name for check in checks if not check.ok]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            fix = f"; {check.fix}" if check.fix else ""
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<15}{check.found}{fix}")
    if failed:
        fail(f"failed: {', '.join(failed)}")
