"""`carillon keys`, on a folder of carillon dev."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli import commands
from services.commands import keys as keys_command
from shared.embedded import PRODUCERS_FILE
from shared.identity.api_keys import digest_of, id_of


def carillon(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments, prog_name="carillon")


def keys(folder: Path, *arguments: str) -> Result:
    return carillon("keys", *arguments, "--data", str(folder))


def added(folder: Path, *arguments: str) -> str:
    result = keys(folder, "add", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in keys(folder, "ls", "--json", *arguments).stdout.splitlines()]


def test_the_key_is_printed_once_and_its_digest_is_kept(tmp_path: Path) -> None:
    key = added(tmp_path, "shop", "--source", "/shop/*", "--type", "order.*", "--type", "cart.*", "--rate", "2.5")
    assert id_of(key) is not None
    (shown,) = listed(tmp_path)
    assert (shown["id"], shown["name"], shown["events_per_s"]) == (id_of(key), "shop", 2.5)
    assert (shown["sources"], shown["types"]) == (["/shop/*"], ["order.*", "cart.*"])
    for file in tmp_path.iterdir():
        assert key[12:].encode() not in file.read_bytes(), file
    (digest,) = sqlite3.connect(tmp_path / PRODUCERS_FILE).execute("SELECT digest FROM producer_keys").fetchone()
    assert digest == digest_of(key)


def test_only_the_key_is_on_standard_output(tmp_path: Path) -> None:
    result = keys(tmp_path, "add", "shop")
    assert len(result.stdout.splitlines()) == 1
    assert "shown this once" in result.stderr
    assert json.loads(keys(tmp_path, "add", "shop", "--json").stdout)["key"].startswith("ck_")


def test_keys_are_listed_by_name_and_state(tmp_path: Path) -> None:
    first, second, other = (
        added(tmp_path, "shop"),
        added(tmp_path, "shop", "--expires", "30d"),
        added(tmp_path, "builds"),
    )
    assert [one["id"] for one in listed(tmp_path)] == [id_of(other), id_of(first), id_of(second)]
    assert [one["id"] for one in listed(tmp_path, "builds")] == [id_of(other)]
    text = keys(tmp_path, "ls").stdout.splitlines()
    assert text[1].startswith(f"{id_of(first)}  shop  since ")
    assert "good until " in text[2]


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_revoked_key_is_listed_with_all_alone(tmp_path: Path, by: str) -> None:
    mine, other = added(tmp_path, "shop"), added(tmp_path, "builds")
    which = id_of(mine) if by == "id" else "shop"
    would = keys(tmp_path, "revoke", str(which), "--dry-run")
    assert would.stdout == f"would revoke {id_of(mine)} of shop\n"
    assert len(listed(tmp_path)) == 2
    assert keys(tmp_path, "revoke", str(which)).stdout == f"revoked {id_of(mine)} of shop\n"
    assert [one["id"] for one in listed(tmp_path)] == [id_of(other)]
    assert {one["name"]: one["revoked_at"] is not None for one in listed(tmp_path, "--all")} == {
        "shop": True,
        "builds": False,
    }
    assert "nothing to do" in keys(tmp_path, "revoke", str(which)).stdout


def test_revoking_a_name_revokes_all_its_keys_and_it_may_be_gone_later(tmp_path: Path) -> None:
    made = [added(tmp_path, "shop") for _ in range(2)]
    assert len(keys(tmp_path, "revoke", "shop").stdout.splitlines()) == 2
    assert len(keys(tmp_path, "revoke", "shop", "--gone").stdout.splitlines()) == 2
    assert [one["gone"] for one in listed(tmp_path, "--all")] == [True, True]
    assert len({id_of(key) for key in made}) == 2


def test_there_are_more_keys_than_a_page_and_more_than_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that came after the first ten thousand could once not be revoked: there was none, it was said."""
    monkeypatch.setattr(keys_command, "PAGE_KEYS", 2)
    monkeypatch.setattr(keys_command, "MAX_LISTED", 4)
    made = sorted(str(id_of(added(tmp_path, f"shop{number}"))) for number in range(5))
    cut = keys(tmp_path, "ls")
    assert (len(cut.stdout.splitlines()), "more than 4" in cut.stderr) == (4, True)
    assert keys(tmp_path, "revoke", made[-1]).stdout.startswith(f"revoked {made[-1]} of shop")
    whole = keys(tmp_path, "ls")
    assert (len(whole.stdout.splitlines()), whole.stderr) == (4, "")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("add", "with:colon"), "NAME"),
        (("add", ""), "NAME"),
        (("add", "x" * 65), "NAME"),
        (("add", "shop", "--source", ""), "--source"),
        (("add", "shop", "--type", "x" * 256), "--type"),
        (("add", "shop", "--expires", "tomorrow"), "--expires"),
        (("add", "shop", "--expires", "0s"), "--expires"),
        (("add", "shop", "--expires", "999999999w"), "--expires"),
        (("add", "shop", "--rate", "0"), "--rate"),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path: Path, arguments: tuple[str, ...], field: str) -> None:
    result = keys(tmp_path, *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert field in result.stderr


def test_an_unknown_key_cannot_be_revoked_and_no_folder_is_made_by_looking(tmp_path: Path) -> None:
    assert keys(tmp_path / "none", "ls").exit_code == 2
    assert not (tmp_path / "none").exists()
    added(tmp_path, "shop")
    result = keys(tmp_path, "revoke", "nobody")
    assert (result.exit_code, "keys ls" in result.stderr) == (1, True)
