"""Declared files change under a running service: the new ones count, bad ones do not, and both are told."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from services.ingest import reloading
from services.ingest.parts import InvalidFile
from services.ingest.reloading import LOOK_EVERY_S, TELL_AGAIN_S, Reloaded
from shared.model.errors import Degraded
from tests.eventually import eventually


class Files:
    """A file with a word, that may name a second file; and a clock to turn by hand."""

    def __init__(self, folder: Path) -> None:
        self.main, self.other = folder / "main", folder / "other"
        self.now, self.writes = 0.0, 0
        self.watched: tuple[Path, ...] = (self.main,)
        self.loads: list[str] = []
        self.write("one")
        self.reloaded = Reloaded("words", self.load, lambda: self.watched, lambda: self.now)

    def write(self, text: str, file: Path | None = None) -> None:
        """With a time of its own: two writes within one tick of the file system look like one."""
        file = file or self.main
        file.write_text(text)
        self.writes += 1
        os.utime(file, ns=(self.writes * 10**9, self.writes * 10**9))

    def load(self) -> str:
        try:
            self.loads.append(self.main.read_text())
            is_long = self.loads[-1] == "with other"
            self.watched = (self.main, self.other) if is_long else (self.main,)
            text = f"{self.loads[-1]} {self.other.read_text()}" if is_long else self.loads[-1]
        except OSError as missing:
            raise InvalidFile("main:1", f"{missing.strerror}", "write it") from None
        if text == "bad":
            raise InvalidFile("main:1", "it is bad", "mend it")
        return text

    async def after(self, looks: int) -> str:
        for _ in range(looks):
            self.now += LOOK_EVERY_S
            await self.reloaded.look()
        return self.reloaded.value


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_a_change_counts_once_it_has_settled(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await files.after(3) == "one"
    assert not caplog.messages
    files.write("tw")
    assert await files.after(1) == "one"
    files.write("two")  # the editor was not done yet
    assert await files.after(1) == "one"
    assert await files.after(1) == "two"
    assert await files.after(3) == "two"
    assert caplog.messages == ["words read again"]
    assert files.loads == ["one", "two"]


async def test_a_bad_file_changes_nothing_and_is_told_until_it_is_mended(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.write("bad")
    assert await files.after(5) == "one"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "main:1: it is bad" in caplog.messages[0]
    with pytest.raises(Degraded, match="main:1: it is bad"):
        await files.reloaded.probe()
    files.now += TELL_AGAIN_S
    assert await files.after(2) == "one"
    assert len(caplog.records) == 2
    assert files.loads == ["one", "bad"], "what has not changed is not read again"
    files.write("good")
    assert await files.after(2) == "good"
    await files.reloaded.probe()


async def test_a_file_that_goes_away_changes_nothing(files: Files) -> None:
    files.main.unlink()
    assert await files.after(3) == "one"
    assert "No such file" in (files.reloaded.problem or "")
    files.write("back")
    assert await files.after(2) == "back"


async def test_files_that_the_file_names_count_as_well(files: Files) -> None:
    files.write("x", files.other)
    files.write("with other")
    assert await files.after(2) == "with other x"
    assert await files.after(3) == "with other x"
    assert files.loads == ["one", "with other"], "to find another file named is no change of it"
    files.write("y", files.other)
    assert await files.after(2) == "with other y"


async def test_a_missing_file_that_comes_later_is_noticed(files: Files) -> None:
    files.write("with other")
    assert await files.after(3) == "one"
    files.write("z", files.other)
    assert await files.after(2) == "with other z"


async def test_a_change_while_files_are_read_is_noticed(files: Files) -> None:
    def load() -> str:
        text = files.load()
        if text == "two":
            files.write("three")
        return text

    reloaded = Reloaded("words", load, lambda: files.watched)
    files.write("two")
    for _ in range(4):
        await reloaded.look()
    assert reloaded.value == "three"


def test_a_bad_file_at_the_start_is_an_error(files: Files) -> None:
    files.write("bad")
    with pytest.raises(InvalidFile):
        Reloaded("words", files.load, lambda: files.watched)


async def test_a_follower_notices_without_being_asked(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.01)
    async with files.reloaded.following():
        files.write("two")
        await eventually(lambda: files.reloaded.value == "two")
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "follow words"]


async def test_a_follower_that_dies_is_told(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.0)

    def watched() -> tuple[Path, ...]:
        raise ZeroDivisionError

    monkeypatch.setattr(files.reloaded, "_watched", watched)
    async with files.reloaded.following():
        await eventually(lambda: caplog.messages)
    assert "words: the files are not followed any more" in caplog.messages[0]
    with pytest.raises(Degraded, match="not followed any more"):
        await files.reloaded.probe()
