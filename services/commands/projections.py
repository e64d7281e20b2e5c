"""`carillon projections`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from services.commands.group import fail
from services.commands.options import data_option, json_option, progress_bar, with_models
from services.persister.projections import rebuilding
from shared.folds import PROJECTIONS
from shared.model.entry import Head
from shared.ports.event_log import EventLog
from shared.ports.read_models import Generation, ReadModels

_BY_NAME = {projection.model.name: projection for projection in PROJECTIONS}
name_argument = click.argument("name", type=click.Choice(list(_BY_NAME)))


@click.group("projections")
def projections() -> None:
    """Look at read models, build them anew, hold them against the log; also while the services run."""


@projections.command("ls")
@data_option
@json_option
def projections_ls(data: Path | None, as_json: bool) -> None:
    """List every generation of every read model: how far it is, and why it stopped.

    \b
    carillon projections ls --data .carillon
    """

    async def look(event_log: EventLog, models: ReadModels) -> tuple[Head, Sequence[Generation]]:
        return await event_log.head(), await models.generations()

    head, found = with_models(data, look)
    for generation in found:
        click.echo(json.dumps(_as_json(generation, head)) if as_json else _line(generation, head))
    for name in _BY_NAME.keys() - {generation.model.name for generation in found}:
        click.echo(f"{name}: not begun; start a persister, or: carillon projections rebuild {name}", err=as_json)


@projections.command("rebuild")
@name_argument
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def projections_rebuild(name: str, dry_run: bool, yes: bool, data: Path | None) -> None:
    """Fold the log into a new generation beside the current one, and swap. Cut short, it goes on next time.

    Readers stay with the current one until then. A log that has been trimmed does not tell any more what
    lies below its floor: it is asked whether to forget that.

    \b
    carillon projections rebuild streams
    """

    async def run(event_log: EventLog, models: ReadModels) -> None:
        head = await event_log.head()
        entries = head.last - head.floor
        if dry_run:
            click.echo(f"would fold {entries} entries, positions {head.floor + 1} to {head.last}, and swap")
            return
        if head.floor and not yes:
            lost = f"the log begins at {head.floor + 1}: what {name} knows from before will be gone. Go on?"
            click.confirm(lost, abort=True, err=True)
        with progress_bar(entries, f"folding {name}") as bar:
            generation = await rebuilding.rebuilt(event_log, models, _BY_NAME[name], bar.update)
        click.echo(f"{name}: generation {generation.number} is current, at {generation.position}")

    with_models(data, run)


@projections.command("verify")
@name_argument
@data_option
@json_option
def projections_verify(name: str, data: Path | None, as_json: bool) -> None:
    """Fold the log afresh, and compare with what is there. Status 1 where they differ.

    Nothing is changed, and the services may run. What retention has removed cannot be verified.

    \b
    carillon projections verify streams
    """

    async def run(event_log: EventLog, models: ReadModels) -> rebuilding.Comparison:
        head = await event_log.head()
        with progress_bar(head.last - head.floor, f"folding {name}") as bar:
            return await rebuilding.verified(event_log, models, _BY_NAME[name], bar.update)

    found = with_models(data, run)
    if as_json:
        told = {
            "rows": found.rows,
            "position": found.position,
            "different": found.different,
            "examples": found.examples,
        }
        click.echo(json.dumps({"name": name, "equal": not found.different, **told}))
    if found.different:
        some = ", ".join(found.examples)
        fail(f"{name}: {found.different} of {found.rows} rows differ from a fresh fold, such as {some}; rebuild it")
    click.echo(f"{name}: {found.rows} rows equal a fresh fold of the log up to {found.position}", err=as_json)


def _line(generation: Generation, head: Head) -> str:
    told = _as_json(generation, head)
    parts = [f"{told['name']:<14}", f"v{told['version']}", f"{told['stage']:<8}", f"at {told['position']}"]
    parts.append("of another log" if told["lag"] is None else f"lag {told['lag']}")
    if generation.failure is not None:
        failure = generation.failure
        parts.append(f"stopped at {failure.position} ({failure.event}): {failure.problem}")
    return "  ".join(parts)


def _as_json(generation: Generation, head: Head) -> dict[str, Any]:
    failure = generation.failure
    is_of_this_log = generation.log_id == head.log_id
    return {
        "name": generation.model.name,
        "version": generation.model.version,
        "generation": generation.number,
        "stage": generation.stage.value,
        "position": generation.position,
        "lag": max(0, head.last - generation.position) if is_of_this_log and generation.is_in_use else None,
        "failure": failure and {"position": failure.position, "event": failure.event, "problem": failure.problem},
    }
