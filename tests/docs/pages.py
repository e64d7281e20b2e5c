"""The Markdown pages of the project, read as tests need them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "examples", "infra", "services", "shared", "tests")

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: str) -> str:
    """The page's text, by its path from the root."""
    return (ROOT / page).read_text()


def all_pages() -> list[str]:
    """Every Markdown file of the project, by its path from the root."""
    found = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    return sorted(str(page.relative_to(ROOT)) for page in found if "node_modules" not in page.parts)


def without_code(text: str) -> str:
    """The text without its code blocks."""
    return _FENCE.sub("", text)


def headings(text: str) -> list[str]:
    """The headings, without their marks."""
    return _HEADING.findall(without_code(text))


def anchors(text: str) -> set[str]:
    """What a link may name behind `#`, as GitHub makes it from a heading."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text)}


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[1]
