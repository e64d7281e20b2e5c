"""`carillon log trim`, `export` and `import`, on folders of carillon dev."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.local.servers import free_port
from services.cli import commands
from services.persister import retention
from shared.embedded.event_log import open_event_log
from shared.model.entry import Entry, Head
from shared.ports.event_log import DISPATCHED as CHECKPOINT
from shared.ports.event_log import EventLog
from tests.unit.test_lines import an_entry

TWO_DAYS_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
NUMBER = 20
DISPATCHED = 15


def carillon(*arguments: str, input: str = "") -> Result:
    return CliRunner().invoke(commands, arguments, prog_name="carillon", input=input)


def old_entries() -> list[Entry]:
    types = ("order.created", "metrics.updated")
    made = [
        an_entry(at, subject="job/1", id=str(at), type=types[at % 2], audience="everyone")
        for at in range(1, NUMBER + 1)
    ]
    return [replace(entry, position=at, appended_at=TWO_DAYS_AGO) for at, entry in enumerate(made, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with open_event_log(tmp_path / "log.db") as log:
            fence = await log.claim("test", 0.001, force=True)
            assert fence is not None
            await log.append(fence, old_entries())
            await log.move_checkpoint(fence, CHECKPOINT, DISPATCHED)

    asyncio.run(fill())
    return tmp_path


def stored(folder: Path) -> tuple[Head, list[Entry]]:
    async def look() -> tuple[Head, list[Entry]]:
        async with open_event_log(folder / "log.db") as log:
            page = await log.read(0, 1000)
            return page.head, list(page.entries)

    return asyncio.run(look())


@pytest.mark.parametrize("where", [("--before", "10"), ("--older-than", "1d")])
def test_trim_says_what_would_go(folder: Path, where: tuple[str, str]) -> None:
    last = 10 if where[0] == "--before" else DISPATCHED
    before = stored(folder)
    result = carillon("log", "trim", *where, "--dry-run", "--data", str(folder))
    assert result.stdout == f"would remove {last} entries, positions 1 to {last}\n"
    assert stored(folder) == before


def test_trim_asks_first(folder: Path) -> None:
    before = stored(folder)
    result = carillon("log", "trim", "--before", "10", "--data", str(folder), input="n\n")
    assert "remove 10 entries, positions 1 to 10, without an archive?" in result.stderr
    assert (result.exit_code, stored(folder)) == (130, before)


def test_trim_removes_no_more_than_was_dispatched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARILLON_BACKEND_TIMEOUT_S", "0.01")
    archive = folder / "archive"
    result = carillon("log", "trim", "--older-than", "1d", "--yes", "--archive", str(archive), "--data", str(folder))
    assert result.stdout == f"removed {DISPATCHED} entries; the log begins at {DISPATCHED + 1}\n"
    head, entries = stored(folder)
    assert (head.floor, entries) == (DISPATCHED, old_entries()[DISPATCHED:])
    assert len(list(archive.rglob("*.jsonl.gz"))) == 1
    again = carillon("log", "trim", "--before", "5", "--yes", "--data", str(folder))
    assert again.stdout == "nothing to do: the log begins at 16, and 5 is below\n"


def test_trim_takes_the_content_of_types_away(folder: Path) -> None:
    what = ("log", "trim", "--type", "metrics.*", "--older-than", "1d", "--data", str(folder))
    assert carillon(*what, "--dry-run").stdout == "would take the content of 8 entries of metrics.* away\n"
    assert carillon(*what, "--yes").stdout == "took the content of 8 entries of metrics.* away\n"
    head, entries = stored(folder)
    assert (head.floor, len(entries)) == (0, NUMBER)
    assert [entry.position for entry in entries if not entry.audience] == list(range(1, DISPATCHED + 1, 2))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trim"], "name one of --before and --older-than"),
        # The content was once gone, and no archive written.
        (["trim", "--before", "5", "--type", "a.*", "--archive", "kept"], "--archive goes without --type"),
        (["trim", "--older-than", "soon"], "--older-than: 'soon' is no age; write a number and s, m, h, d or w: 30d"),
        (["trim", "--before", "otherlog.3"], "cursor: otherlog.3 is of another log"),
        (["import", "none"], "File 'none' does not exist"),
        (["export", "/no/such/folder/log"], "FILE: /no/such/folder/log: No such file or directory"),
    ],
)
def test_bad_input_is_one_line(folder: Path, arguments: list[str], said: str) -> None:
    result = carillon("log", *arguments, "--data", str(folder))
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_what_was_exported_is_imported_equal(
    folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a floor, above which a stream goes on, and below which it began."""
    monkeypatch.setenv("CARILLON_BACKEND_TIMEOUT_S", "0.01")
    carillon("log", "trim", "--before", "5", "--yes", "--data", str(folder))
    file, copy = tmp_path / name, tmp_path / "copy"
    assert carillon("log", "export", str(file), "--data", str(folder)).exit_code == 0
    result = carillon("log", "import", str(file), "--data", str(copy))
    assert result.stdout == f"imported 15 entries; the log ends at {NUMBER}\n"
    assert stored(copy) == stored(folder)
    assert carillon("log", "import", str(file), "--data", str(copy)).stdout.startswith("imported 0 entries")


def test_an_import_that_was_cut_short_goes_on(folder: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "log.jsonl", tmp_path / "copy"
    carillon("log", "export", str(file), "--data", str(folder))
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:9]))
    cut = carillon("log", "import", str(file), "--data", str(copy))
    assert (cut.exit_code, "the file is cut short: it ends at position 8" in cut.stderr) == (1, True)
    file.write_bytes(b"".join(lines))
    assert carillon("log", "import", str(file), "--data", str(copy)).stdout.startswith("imported 12 entries")
    assert stored(copy) == stored(folder)


def test_a_log_with_entries_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    file = tmp_path / "log.jsonl"
    carillon("log", "export", str(file), "--data", str(folder))
    file.write_text(file.read_text().replace(stored(folder)[0].log_id, "another"))
    before = stored(folder)
    result = carillon("log", "import", str(file), "--data", str(folder))
    assert (result.exit_code, "import into an empty one" in result.stderr) == (1, True)
    assert stored(folder) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: it does not name a log"),
        (b"what?\n", "line 1: body: it is not JSON"),
        (b'{"stream":"a","version":1}\n', "line 1: it does not name a log"),
        (gzip.compress(b"x", mtime=0)[:9], "line 1"),
    ],
)
def test_a_file_that_is_no_export_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "file.jsonl"
    file.write_bytes(content)
    result = carillon("log", "import", str(file), "--data", str(tmp_path / "new"))
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_export_during_a_trim_is_none(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once had a gap where retention had been faster, said that it was whole, and could not be imported."""
    pages = retention.pages

    async def trimmed_meanwhile(log: EventLog, after: int, through: int) -> AsyncIterator[Sequence[Entry]]:
        async for entries in pages(log, after, 2):
            yield entries
        await log.upkeep.raise_floor(5)
        await log.upkeep.remove(5, 100)
        async for entries in pages(log, 2, through):
            yield entries

    monkeypatch.setattr(retention, "pages", trimmed_meanwhile)
    result = carillon("log", "export", str(tmp_path / "log.jsonl"), "--data", str(folder))
    assert (result.exit_code, "removed while they were exported" in result.stderr) == (1, True)
    assert not list(tmp_path.glob("log.jsonl*"))


def test_a_file_with_a_gap_is_named(folder: Path, tmp_path: Path) -> None:
    lines = carillon("log", "export", "-", "--data", str(folder)).stdout.splitlines(keepends=True)
    file = tmp_path / "gap.jsonl"
    file.write_text("".join(lines[:4] + lines[6:]))
    result = carillon("log", "import", str(file), "--data", str(tmp_path / "new"))
    assert (result.exit_code, "position 3 is followed by 6" in result.stderr) == (2, True)


def test_export_to_standard_output(folder: Path) -> None:
    result = carillon("log", "export", "-", "--data", str(folder))
    assert len(result.stdout.splitlines()) == NUMBER + 1


@pytest.mark.parametrize("command", [("log", "ls"), ("projections", "ls"), ("dead", "ls")])
def test_servers_that_are_away_are_one_line(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """Who forgot --data on a machine without servers read that a log is unavailable, and not why."""
    monkeypatch.setenv("CARILLON_MONGO_URL", f"mongodb://127.0.0.1:{free_port()}")
    monkeypatch.setenv("CARILLON_AMQP_URL", f"amqp://127.0.0.1:{free_port()}")
    monkeypatch.setenv("CARILLON_BACKEND_TIMEOUT_S", "0.2")
    failed = carillon(*command)
    assert (failed.exit_code, failed.output.count("\n")) == (1, 1), failed.output
    assert "unavailable" in failed.output
    assert failed.output.endswith("; see carillon doctor; for the folder of carillon dev give --data\n")
