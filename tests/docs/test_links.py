"""Links between the pages."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, all_pages, anchors, without_code

_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", all_pages())
def test_internal_links_resolve(page: str) -> None:
    here = ROOT / page
    broken = []
    for link in _LINK.findall(without_code(here.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken


def test_every_page_of_the_docs_is_linked_from_somewhere() -> None:
    linked = set()
    for page in all_pages():
        here = ROOT / page
        for link in _LINK.findall(without_code(here.read_text())):
            if not link.startswith("http"):
                linked.add((here.parent / link.partition("#")[0]).resolve())
    pages = {page.resolve() for page in (ROOT / "docs").rglob("*.md")}
    assert not {str(page.relative_to(ROOT)) for page in pages - linked}
