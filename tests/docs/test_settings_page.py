"""docs/reference/settings.md against the settings, and every page against their names."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import SecretStr

from shared.model.settings import Settings
from tests.docs.pages import ROOT, all_pages, headings, section, text_of

PAGE = "docs/reference/settings.md"
NAMES = {f"CARILLON_{name.upper()}": field for name, field in Settings.model_fields.items()}
# Read by `carillon publish` and `tail`, not by a service.
OF_THE_COMMAND = {"CARILLON_URL", "CARILLON_KEY"}
OTHER_FILES = ("docker-compose.yml", "infra/nginx/carillon.conf", "infra/docker/Dockerfile", "infra/local/__main__.py")


def shown(default: object) -> str:
    """A default as the page writes it."""
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    if isinstance(value, tuple):
        value = json.dumps(value) if value else None
    if value is None or value == "":
        return "Default: none"
    return f"Default: `{str(value).lower() if isinstance(value, bool) else value}`"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_heading_with_its_default_and_who_uses_it(name: str) -> None:
    about = section(text_of(PAGE), f"`{name}`")
    first_line = about.strip().splitlines()[0]
    assert first_line.split(" · ")[0] == shown(NAMES[name].default)
    assert "used by: " in first_line
    assert len(about.strip().splitlines()) > 1, "say what it means and when to change it"


def test_the_page_describes_no_setting_that_does_not_exist() -> None:
    described = {heading.strip("`") for heading in headings(text_of(PAGE)) if "CARILLON_" in heading}
    assert described == set(NAMES)


@pytest.mark.parametrize("page", [*all_pages(), *OTHER_FILES])
def test_a_setting_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"\bCARILLON_[A-Z_]*[A-Z]\b", (ROOT / page).read_text()))
    assert named <= set(NAMES) | OF_THE_COMMAND
