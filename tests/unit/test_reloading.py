"""Declared files change under a running service: the new ones count, bad ones do not, and both are told."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from services.ingest.parts import InvalidFile
from services.ingest.reloading import LOOK_EVERY_S, TELL_AGAIN_S, Loaded, Reloaded
from tests.eventually import eventually


class Files:
    """A list of words, that may name a second file; and a clock to turn by hand."""

    def __init__(self, folder: Path) -> None:
        self.main, self.other = folder / "main", folder / "other"
        self.now, self.writes = 0.0, 0
        self.write("one")
        self.reloaded = Reloaded("words", self.load, lambda: self.now)

    def write(self, text: str, file: Path | None = None) -> None:
        """With a time of its own: two writes within one tick of the file system look like one."""
        file = file or self.main
        file.write_text(text)
        self.writes += 1
        os.utime(file, ns=(self.writes * 10**9, self.writes * 10**9))

    def load(self) -> Loaded[str]:
        text = self.main.read_text()
        if text == "bad":
            raise InvalidFile("main:1", "it is bad", "mend it")
        if text != "with other":
            return Loaded(text, (self.main,))
        try:
            return Loaded(f"{text} {self.other.read_text()}", (self.main, self.other))
        except OSError:
            raise InvalidFile("main:1", "the other is missing", "write it") from None

    def after(self, looks: int) -> str:
        for _ in range(looks):
            self.now += LOOK_EVERY_S
            self.reloaded.current()
        return self.reloaded.current()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_change_counts_once_it_has_settled(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert files.after(3) == "one"
    assert not caplog.messages
    files.write("tw")
    assert files.after(1) == "one"
    files.write("two")  # the editor was not done yet
    assert files.after(1) == "one"
    assert files.after(1) == "two"
    assert files.after(3) == "two"
    assert caplog.messages == ["words read again"]


def test_between_two_looks_nothing_is_read(files: Files) -> None:
    files.write("two")
    files.now += LOOK_EVERY_S / 2
    assert files.reloaded.current() == "one"


def test_a_bad_file_changes_nothing_and_is_told_until_it_is_mended(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.write("bad")
    assert files.after(3) == "one"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "main:1: it is bad" in caplog.messages[0]
    assert "NOT" in caplog.messages[0]
    assert files.reloaded.trouble
    files.now += TELL_AGAIN_S
    assert files.after(2) == "one"
    assert len(caplog.records) == 2
    files.write("good")
    assert files.after(2) == "good"
    assert files.reloaded.trouble is None


def test_a_file_that_goes_away_changes_nothing(files: Files) -> None:
    def load() -> Loaded[str]:
        if not files.main.exists():
            raise InvalidFile("main", "it is not there", "write it")
        return Loaded(files.main.read_text(), (files.main,))

    reloaded = Reloaded("words", load, lambda: files.now)
    files.main.unlink()
    for _ in range(3):
        files.now += LOOK_EVERY_S
        assert reloaded.current() == "one"
    assert "not there" in (reloaded.trouble or "")


def test_files_that_the_file_names_count_as_well(files: Files) -> None:
    files.write("x", files.other)
    files.write("with other")
    assert files.after(2) == "with other x"
    files.write("y", files.other)
    assert files.after(2) == "with other y"


def test_a_missing_file_that_comes_later_mends_the_trouble(files: Files) -> None:
    """None of the files that were known changes by that."""
    files.write("with other")
    assert files.after(2) == "one"
    files.write("z", files.other)
    assert files.after(1) == "with other z"


def test_a_bad_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    def load() -> Loaded[str]:
        raise InvalidFile("main:1", "it is bad", "mend it")

    with pytest.raises(InvalidFile):
        Reloaded("words", load)


async def test_a_follower_notices_without_being_asked(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.reloading.LOOK_EVERY_S", 0.01)
    seen: list[str] = []

    def load() -> Loaded[str]:
        seen.append(files.main.read_text())
        return Loaded(seen[-1], (files.main,))

    async with Reloaded("words", load).following():
        files.write("two")
        await eventually(lambda: seen == ["one", "two"])
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "follow words"]
