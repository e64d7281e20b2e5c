"""`carillon webhooks`."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from services.commands.options import json_option
from shared.model.errors import InvalidInput

if TYPE_CHECKING:
    from services.ingest.webhooks.source import Source
    from services.ingest.webhooks.sources import Sources

SETTING = "CARILLON_WEBHOOKS_FILE"

file_option = click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), envvar=SETTING, help=f"The sources; or {SETTING}."
)


@click.group("webhooks")
def webhooks() -> None:
    """Check the declared sources of webhooks, and sign a body to try one. No service is asked."""


@webhooks.command("ls")
@file_option
@json_option
def webhooks_ls(file: Path | None, as_json: bool) -> None:
    """Check the file and the secrets that it names, and list its sources.

    \b
    carillon webhooks ls --file webhooks.yaml
    """
    for source in _sources(file).values():
        about = {
            "source": source.name,
            "kind": source.kind,
            "audience": list(source.audience),
            "path": f"/v1/webhooks/{source.name}",
        }
        line = f"{source.name:<20} {source.kind:<18} {about['path']}  {' '.join(source.audience)}".rstrip()
        click.echo(json.dumps(about) if as_json else line)


@webhooks.command("sign")
@click.argument("source")
@click.argument("body", type=click.File("rb"))
@click.option("--id", "id_", help="The id of the message, where the scheme has one.  [default: a new one]")
@file_option
def webhooks_sign(source: str, body: BinaryIO, id_: str | None, file: Path | None) -> None:
    """Print the headers with which the sender of SOURCE would send BODY, for curl; - reads standard input.

    \b
    carillon webhooks sign stripe event.json |
      curl -H @- --json @event.json http://127.0.0.1:8080/v1/webhooks/stripe
    """
    headers = _named(_sources(file), source).scheme.sign(body.read(), id_ or f"msg_{uuid.uuid4().hex}", time.time())
    for name, value in headers.items():
        click.echo(f"{name}: {value}")


def _sources(file: Path | None) -> Sources:
    from services.ingest.webhooks.sources import SourcesFile

    if file is None:
        raise InvalidInput("--file", "no file is named", f"give --file, or set {SETTING}")
    return SourcesFile(file).load()


def _named(sources: Sources, name: str) -> Source:
    if name not in sources:
        known = ", ".join(sources) or "none"
        raise InvalidInput("SOURCE", f"{name[:80]!r} is not declared", f"use one of: {known}")
    return sources[name]
