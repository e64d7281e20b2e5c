"""`carillon log`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from services.commands.group import fail
from services.commands.options import data_option, json_option, with_log
from shared.model import lines
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Head
from shared.model.errors import InvalidInput
from shared.model.tags import checked_tag
from shared.ports.event_log import EventLog

MAX_LS_ENTRIES = 10_000


@click.group("log")
def log() -> None:
    """Look at the event log; also while the services run."""


@log.command("ls")
@click.option("--after", metavar="N|CURSOR", default="0", help="Begin after this position or cursor.")
@click.option("--limit", type=click.IntRange(1, MAX_LS_ENTRIES), default=50, show_default=True, help="So many at most.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only what this tag may see.")
@data_option
@json_option
def log_ls(after: str, limit: int, tags: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """List entries in the log's order.

    \b
    carillon log ls --data .carillon --tag user:alice
    carillon log ls --after 1000 --json | jq .event.type
    """
    wanted = [checked_tag(tag) for tag in tags] or None

    async def read(event_log: EventLog) -> list[Entry]:
        position = position_of(after, await event_log.head())
        return list((await event_log.read(position, limit, wanted)).entries)

    for entry in with_log(data, read):
        click.echo(lines.entry_line(entry) if as_json else _shown(entry))


@log.command("show")
@click.argument("what", metavar="POSITION | SOURCE ID", nargs=-1, required=True)
@data_option
@json_option
def log_show(what: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Show one entry whole, by its position, its cursor, or its source and id.

    \b
    carillon log show 12 --data .carillon
    carillon log show /shop order-7 --json
    """
    if len(what) > 2:
        raise click.UsageError("name a position, or a source and an id.")

    async def find(event_log: EventLog) -> Entry | None:
        if len(what) == 2:
            position = (await event_log.positions([(what[0], what[1])])).get((what[0], what[1]), 0)
        else:
            position = position_of(what[0], await event_log.head())
        entries = (await event_log.read(position - 1, 1)).entries if position else []
        return next((entry for entry in entries if entry.position == position), None)

    entry = with_log(data, find)
    if entry is None:
        fail(f"the log holds no entry {' '.join(what)}; see: carillon log ls")
    line = lines.entry_line(entry)
    click.echo(line if as_json else json.dumps(json.loads(line), ensure_ascii=False, indent=2))


def position_of(text: str, head: Head) -> int:
    """`12` or `<log id>.12` -> 12. Raises `InvalidInput`, also for another log's cursor."""
    if text.isascii() and text.isdigit():
        return min(int(text), 2**62)
    cursor = Cursor.parse(text)
    if cursor.log_id != head.log_id:
        raise InvalidInput("cursor", f"{text} is of another log than {head.log_id}", "take one of this log")
    return cursor.position


def _shown(entry: Entry) -> str:
    time = entry.appended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stream = f"{entry.subject}@{entry.version}" if entry.subject is not None else ""
    parts = (f"{entry.position:>8}", time, entry.type, stream, f"{entry.source} {entry.id}", ",".join(entry.audience))
    return "  ".join(filter(None, parts))
