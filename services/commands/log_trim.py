"""`carillon log trim`: what retention does, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from services.commands.log import position_of
from services.commands.options import data_option, parsed_age, progress_bar, with_models
from services.persister import retention
from shared.model.entry import Head
from shared.model.settings import Settings
from shared.ports.event_log import EventLog
from shared.ports.read_models import ReadModels


@click.command("trim")
@click.option("--before", metavar="N|CURSOR", help="Remove what lies at or below this position or cursor.")
@click.option("--older-than", "age", metavar="AGE", help="Remove what is older: 90s, 15m, 12h, 30d, 4w.")
@click.option("--type", "types", metavar="PATTERN", multiple=True, help="Only take the content of these types away.")
@click.option("--archive", type=click.Path(path_type=Path, file_okay=False), help="Write it into this folder first.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def trim(
    before: str | None,
    age: str | None,
    types: tuple[str, ...],
    archive: Path | None,
    dry_run: bool,
    yes: bool,
    data: Path | None,
) -> None:
    """Have the log forget: everything up to a place, or the content of some types.

    Never more than what has been dispatched and folded. Streams with an older cursor are told so by a reset. A
    sign-out that is forgotten no longer holds: keep as much as sessions may last.

    \b
    carillon log trim --older-than 30d --dry-run
    carillon log trim --type 'metrics.*' --older-than 1d --yes
    """
    if (before is None) == (age is None):
        raise click.UsageError("name one of --before and --older-than.")
    if types and archive is not None:
        raise click.UsageError("--archive goes without --type: export the log first to keep what they say.")
    moment = datetime.now(UTC) - timedelta(seconds=parsed_age("--older-than", age or "0s"))

    async def run(log: EventLog, models: ReadModels) -> None:
        head = await log.head()
        asked = position_of(before, head) if before is not None else await retention.last_before(log, moment)
        through = min(asked, await retention.followed(log, models))
        if through <= head.floor:
            click.echo(f"nothing to do: the log begins at {head.floor + 1}, and {through} is below")
        elif types:
            await _expire(log, head, through, types, dry_run=dry_run, yes=yes)
        else:
            await _trim(log, head, through, archive, dry_run=dry_run, yes=yes)

    with_models(data, run)


async def _trim(log: EventLog, head: Head, through: int, archive: Path | None, *, dry_run: bool, yes: bool) -> None:
    what = f"{through - head.floor} entries, positions {head.floor + 1} to {through}"
    if dry_run:
        click.echo(f"would remove {what}")
        return
    settings = Settings.load()
    _confirm(f"remove {what}" + ("" if archive else ", without an archive"), yes=yes)
    wait_s = retention.READERS_GONE_TIMEOUTS * settings.backend_timeout_s
    with progress_bar(through - head.floor, "removing") as bar:
        removed = await retention.trim(log, through, archive, wait_s, bar.update)
    click.echo(f"removed {removed} entries; the log begins at {through + 1}")


async def _expire(log: EventLog, head: Head, through: int, types: Sequence[str], *, dry_run: bool, yes: bool) -> None:
    if not dry_run:
        _confirm(f"take the content of {', '.join(types)} up to position {through} away", yes=yes)
    with progress_bar((through - head.floor) * len(types), "reading") as bar:
        for pattern in types:
            count = await retention.expire(log, pattern, head.floor, through, bar.update, dry=dry_run)
            click.echo(f"{'would take' if dry_run else 'took'} the content of {count} entries of {pattern} away")


def _confirm(what: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(f"{what}?", abort=True, err=True)
