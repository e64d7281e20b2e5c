"""`carillon certify`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from services.commands.group import fail
from services.commands.options import data_option, json_option, overrides
from shared.model.settings import Settings


@click.command()
@data_option
@json_option
def certify(data: Path | None, as_json: bool) -> None:
    """Hold the configured broker and log to every promise, under throwaway names. Status 1 when one is broken.

    Nothing of the deployment is touched: queues, exchanges and databases of its own are made and removed.

    \b
    CARILLON_AMQP_URL=… CARILLON_MONGO_URL=… carillon certify
    """
    from services.commands import certification
    from shared.telemetry import logs

    settings = Settings.load(**overrides(data))
    logs.set_up(settings.model_copy(update={"log_level": "error"}))
    total = len(certification.promises(settings))

    async def examine() -> list[certification.Finding]:
        findings: list[certification.Finding] = []
        async for finding in certification.certify(settings):
            findings.append(finding)
            verdict = "ok  " if finding.kept else "FAIL"
            problem = f"; {finding.problem}" if finding.problem else ""
            click.echo(f"{len(findings):>3}/{total}  {verdict}  {finding.promise}{problem}", err=as_json)
        return findings

    findings = asyncio.run(examine())
    broken = [finding.promise for finding in findings if not finding.kept]
    if as_json:
        click.echo(json.dumps({"ok": not broken, "promises": [asdict(finding) for finding in findings]}))
    if broken:
        fail(f"{len(broken)} of {total} promises are broken")
    click.echo(f"all {total} promises are kept", err=as_json)
