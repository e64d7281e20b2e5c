"""The decisions: four sections, one page, listed."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, headings, text_of

SECTIONS = ["Status", "Context", "Decision", "Consequences"]
# What fits one printed page.
PAGE_LINES = 60
DECISIONS = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_has_its_four_sections_on_one_page(name: str) -> None:
    text = text_of(f"docs/adr/{name}")
    title, *sections = headings(text)
    assert title.split()[0] == name[:4]
    assert sections == SECTIONS
    assert len(text.splitlines()) <= PAGE_LINES


def test_all_decisions_are_numbered_and_listed_with_their_titles() -> None:
    assert [int(name[:4]) for name in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    listed = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \|$", text_of("docs/adr/README.md"), re.MULTILINE)
    titles = [headings(text_of(f"docs/adr/{name}"))[0].split(" ", 1)[1] for name in DECISIONS]
    assert listed == [(name[:4], name, title) for name, title in zip(DECISIONS, titles, strict=True)]
