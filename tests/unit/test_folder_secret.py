"""The secret of a folder of `carillon dev`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.dev.secret import folder_secret
from shared.model.errors import InvalidInput


def test_it_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    made = folder_secret(folder)
    assert len(made) == 64
    assert folder_secret(folder) == made
    assert ((folder / "secret").stat().st_mode & 0o777, os.listdir(folder)) == (0o600, ["secret"])


def test_two_that_start_at_once_have_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second once found the file of the first before anything was in it, and signed with nothing."""
    others: list[str] = []
    write = os.fdopen

    def second_comes(*arguments: object) -> object:
        monkeypatch.undo()
        others.append(folder_secret(tmp_path))
        return write(*arguments)  # type: ignore[call-overload]  # handed through

    monkeypatch.setattr(os, "fdopen", second_comes)
    assert [folder_secret(tmp_path)] == others
    assert len(others[0]) == 64
    assert os.listdir(tmp_path) == ["secret"]


def test_an_empty_one_signs_nothing(tmp_path: Path) -> None:
    """As a full disk left it."""
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(InvalidInput, match="empty"):
        folder_secret(tmp_path)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be used"):
        folder_secret(tmp_path / "file")
