"""Debian's Chromium, driven by Playwright; whose own browser download is not needed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

from infra.client import FOLDER

CHROMIUM_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Playwright's own five seconds are less than a busy machine may stand still.
expect.set_options(timeout=60_000)
# Screenshots to look at; never committed.
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
# Comes with what the client's own tests need.
AXE = FOLDER / "test" / "node_modules" / "axe-core" / "axe.min.js"


def chromium() -> str:
    """Where Debian's Chromium is."""
    return shutil.which("chromium") or "/usr/bin/chromium"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_ARGUMENTS))
        yield browser
        await browser.close()
