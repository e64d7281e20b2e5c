"""docs/operating/webhooks.md: every declared source loads, and the tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services.ingest.webhooks.declarations import KINDS
from services.ingest.webhooks.posted import Check
from services.ingest.webhooks.sources import SourcesFile
from tests.docs.pages import section, text_of

PAGE = "docs/operating/webhooks.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", text_of(PAGE), re.MULTILINE | re.DOTALL)
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# Said in words, because it depends on something else.
IN_WORDS = {"type_prefix", "id", "signed", "header"}


@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_declared_on_the_page_loads(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"env: (\w+)", block):
        monkeypatch.setenv(name, STANDARD_SECRET)
    for file in re.findall(r"file: ([\w/.-]+)", block):
        (tmp_path / Path(file).name).write_text("secret")
        block = block.replace(file, Path(file).name)
    (tmp_path / "webhooks.yaml").write_text(block)
    assert SourcesFile(tmp_path / "webhooks.yaml").load()


def test_every_kind_is_shown() -> None:
    shown = {kind for block in BLOCKS for kind in re.findall(r"kind: ([\w-]+)", block)}
    assert shown == set(KINDS)


def rows() -> dict[str, tuple[str, str]]:
    """Kinds and default by key, of the table of what may be declared."""
    table = section(text_of(PAGE), "What may be declared")
    found = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|.*\|$", table, re.MULTILINE)
    return {key: (kinds.strip(), default.strip()) for key, kinds, default in found}


def kinds_named(words: str) -> set[str]:
    names = set(re.findall(r"`([\w-]+)`", words))
    return set(KINDS) - names if words.startswith("all") or not words else names


def test_the_table_has_every_key_of_every_kind() -> None:
    fields: dict[str, set[str]] = {}
    for kind, model in KINDS.items():
        for field in model.model_fields:
            fields.setdefault(field, set()).add(kind)
    assert {key: kinds_named(kinds) for key, (kinds, _) in rows().items()} == fields


def default_of(key: str) -> Any:
    return next(model.model_fields[key] for model in KINDS.values() if key in model.model_fields)


@pytest.mark.parametrize("key", sorted(rows().keys() - IN_WORDS))
def test_defaults_are_told(key: str) -> None:
    field, told = default_of(key), rows()[key][1]
    if field.is_required():
        assert not told
    else:
        default = getattr(field.default, "text", field.default)
        assert told.strip("`") == (
            "none" if default in (None, "", ()) else f"{default:g}" if default == 300.0 else default
        )


def test_the_words_of_the_log_are_told() -> None:
    about = section(text_of(PAGE), "What becomes of a request")
    assert {check.value for check in Check if f"`{check.value}`" in about} == set(Check) - {Check.LOOPBACK}
