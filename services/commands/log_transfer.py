"""`carillon log export` and `import`: a log as a file, and back."""

from __future__ import annotations

import gzip
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import click

from services.commands.group import fail
from services.commands.options import data_option, progress_bar, with_log
from services.persister import retention
from shared.model.entry import Entry, Head
from shared.model.errors import InvalidInput, LogNotEmpty
from shared.model.lines import MAX_LINE_BYTES, Line, StreamVersion, entry_line, head_line, parsed_line, version_line
from shared.ports.event_log import EventLog, Fence

# Versions of streams below the floor, read at once.
VERSIONS_PAGE = 1000
# One append, and so one transaction of the storage.
IMPORT_ENTRIES = 500
# An import that pauses for longer has died, and another may go on.
IMPORT_LEASE_S = 60.0

_FIX = "give a whole file that `carillon log export` wrote"


@click.command("export")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@data_option
def export(file: Path, data: Path | None) -> None:
    """Write the log to a file as JSON Lines, compressed where its name ends in .gz; - is standard output.

    \b
    carillon log export log.jsonl.gz
    carillon log export - --data .carillon | jq .event.type
    """

    async def run(log: EventLog) -> None:
        head = await log.head()
        with _writing(file) as out, progress_bar(head.last - head.floor, "exporting") as bar:
            out.write(head_line(head) + b"\n")
            async for subject, version in _removed_versions(log):
                out.write(version_line(subject, version) + b"\n")
            count = 0
            async for entries in retention.pages(log, head.floor, head.last):
                count += len(entries)
                # Positions have no gaps: where one is missing, retention was faster.
                if entries and entries[-1].position != head.floor + count:
                    fail("entries were removed while they were exported; do it again")
                out.write(b"".join(entry_line(entry) + b"\n" for entry in entries))
                bar.update(len(entries))
        click.echo(f"exported {head.last - head.floor} entries of log {head.log_id}", err=True)

    with_log(data, run)


async def _removed_versions(log: EventLog) -> AsyncIterator[tuple[str, int]]:
    after = ""
    while found := await log.upkeep.removed_versions(after, VERSIONS_PAGE):
        for subject, version in found.items():
            yield subject, version
            after = subject


@contextmanager
def _writing(file: Path) -> Iterator[BinaryIO]:
    """The file, in its place only once it is whole."""
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with _opened(unfinished, "wb") as out:
            yield out
        unfinished.replace(file)
    except OSError as failed:
        raise InvalidInput("FILE", f"{file}: {failed.strerror}", "name a file that you may write") from None
    finally:
        unfinished.unlink(missing_ok=True)


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@data_option
def import_(file: Path, data: Path | None) -> None:
    """Fill an empty log from an export: same positions, same log id, so that every cursor goes on.

    A log that holds anything else is left as it is. One that was cut short goes on where it was.

    \b
    carillon log import log.jsonl.gz --data restored
    """

    async def run(log: EventLog) -> None:
        fence = await log.claim("carillon log import", IMPORT_LEASE_S, force=False)
        if fence is None:
            fail("a persister is active: stop it first")
        with _opened(file, "rb") as lines:
            count = await _import(log, fence, _parsed(lines))
        click.echo(f"imported {count} entries; the log ends at {(await log.head()).last}")

    try:
        with_log(data, run, make=True)
    except LogNotEmpty as refused:
        fail(f"{refused}: import into an empty one")
    except (OSError, EOFError) as failed:
        raise InvalidInput("FILE", f"{file}: {failed}", _FIX) from None


async def _import(log: EventLog, fence: Fence, lines: Iterator[Line]) -> int:
    head = next(lines, None)
    if not isinstance(head, Head):
        raise InvalidInput("line 1", "it does not name a log", _FIX)
    first = await _take_place(log, head, lines)
    count = 0
    with progress_bar(head.last - head.floor, "importing") as bar:
        for batch in _batches(first, lines, after=(await log.head()).last):
            await log.renew(fence, IMPORT_LEASE_S)
            await log.append(fence, batch)
            count += len(batch)
            bar.update(len(batch))
    if (last := (await log.head()).last) != head.last:
        fail(f"the file is cut short: it ends at position {last}, and was to end at {head.last}")
    return count


async def _take_place(log: EventLog, head: Head, lines: Iterator[Line]) -> Entry | None:
    """Gives the log the id, floor and versions of the file; returns the first entry, which follows them."""
    versions: dict[str, int] = {}
    for line in lines:
        if isinstance(line, StreamVersion):
            versions[line.subject] = line.version
            continue
        break
    else:
        line = None
    if (await log.head()).log_id != head.log_id:
        await log.upkeep.restore(head, versions)
    return line if isinstance(line, Entry) else None


def _batches(first: Entry | None, lines: Iterator[Line], after: int) -> Iterator[list[Entry]]:
    """The entries above `after`, a batch at a time. Raises `InvalidInput` where one is missing."""
    batch: list[Entry] = []
    for line in chain([first] if first else [], lines):
        if not isinstance(line, Entry):
            raise InvalidInput("FILE", "an entry is followed by what is none", _FIX)
        if line.position <= after:
            continue
        if line.position != after + 1:
            raise InvalidInput("FILE", f"position {after} is followed by {line.position}", _FIX)
        batch.append(line)
        after += 1
        if len(batch) >= IMPORT_ENTRIES:
            yield batch
            batch = []
    if batch:
        yield batch


def _parsed(lines: BinaryIO) -> Iterator[Line]:
    number = 0
    while line := lines.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InvalidInput(f"line {number}", f"it is over {MAX_LINE_BYTES} bytes", _FIX)
        if line.strip():
            yield parsed_line(line, number)


def _opened(file: Path, mode: str) -> BinaryIO:
    return cast(
        "BinaryIO", gzip.open(file, mode) if file.name.removesuffix(".part").endswith(".gz") else open(file, mode)
    )
