"""The console in a real browser: sign in, watch, find, look; and nothing that axe finds fault with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.e2e.conftest import AXE, SCREENSHOTS
from tests.e2e.test_page import publish
from tests.eventually import answered
from tests.harness.platform import DevPlatform

pytestmark = pytest.mark.browser

DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
FAULTS = "async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)"
LISTS_TOO_WIDE = (
    "[...document.querySelectorAll('.scroll')].filter((list) => list.scrollWidth > list.clientWidth).length"
)
LIVE_WITHIN_MS = 60_000

PIPELINE = {
    "checkout": {"status": "completed", "duration_ms": 1200, "started_at": "2026-01-01T12:00:00Z"},
    "build": {"status": "completed", "duration_ms": 41_000, "needs": ["checkout"], "name": "Build and push"},
    "unit": {"status": "completed", "attempt": 2, "needs": ["build"], "started_at": "2026-01-01T12:00:42Z"},
    "browser": {"status": "running", "needs": ["build"]},
    "lint": {"status": "failed", "needs": ["checkout"], "error": "2 findings"},
    "docs": {"status": "running", "needs": ["checkout"]},
    "deploy": {"status": "pending", "needs": ["unit", "browser", "docs", "checkout"]},
}


async def is_well_made(page: Page, axe: str, name: str) -> None:
    """Looks at the page at both widths and in both themes: axe has nothing to say, and nothing is cut off."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for size, scheme in ((DESK, "light"), (PHONE, "dark")):
        await page.set_viewport_size(size)  # type: ignore[arg-type]  # a dict of its two members
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its two words
        # Playwright's own way in: the page's policy lets no script of anybody else's run.
        await page.evaluate(axe)
        assert await page.evaluate(FAULTS) == [], name
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
        assert await page.evaluate(LISTS_TOO_WIDE) == 0, f"a list of {name} scrolls sideways at {size['width']}"
        await page.screenshot(path=SCREENSHOTS / f"console-{name}-{size['width']}.png", full_page=True)


async def comes_to_hold(page: Page, rows: Locator, count: int) -> None:
    """Loads the page again until it shows so many: what was published goes its way first."""

    async def look() -> None:
        await page.reload()
        assert await rows.count() == count

    await answered(look, AssertionError)


async def test_the_console(browser: Browser, tmp_path: Path) -> None:
    axe = await asyncio.to_thread(AXE.read_text)
    async with DevPlatform(tmp_path, trace_ratio=1) as dev:
        await dev.start()
        url, errors = dev.ingest_url, []
        page = await (await browser.new_context()).new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        for number in range(3):
            await publish(url, number)

        await page.goto(f"{url}/console/events")
        await is_well_made(page, axe, "login")
        await page.get_by_role("button", name="demo operator").click()
        await expect(page.locator("#rows .type").first).to_have_text("counter.raised")

        await page.get_by_label("Type").fill("counter.*")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("#rows tr")).to_have_count(3)
        await page.get_by_label("Follow live").check()
        await expect(page.locator("[data-follow-state]")).to_have_text("live", timeout=LIVE_WITHIN_MS)
        last = await publish(url, 4)
        await expect(page.locator("#rows tr")).to_have_count(4, timeout=LIVE_WITHIN_MS)
        await is_well_made(page, axe, "events")

        await page.locator("#rows .type").first.click()
        await expect(page.get_by_text(last).first).to_be_visible()
        await expect(page.locator(".waterfall .stage").first).to_have_text("accepted")
        await is_well_made(page, axe, "event")

        await page.get_by_role("link", name="Overview").click()
        await expect(page.locator("[data-live]")).to_have_attribute("data-state", "live", timeout=LIVE_WITHIN_MS)
        before = await page.locator(".tile .about").first.text_content()
        await publish(url, 5)
        await expect(page.locator(".tile .about").first).not_to_have_text(str(before), timeout=LIVE_WITHIN_MS)
        await is_well_made(page, axe, "overview")

        async with dev.readers() as readers:
            await readers.open("alice")
            await page.get_by_role("link", name="Connections", exact=True).first.click()
            disconnect = page.get_by_role("button", name="Disconnect alice")
            await expect(disconnect).to_be_visible(timeout=LIVE_WITHIN_MS)
            await is_well_made(page, axe, "connections")
            await page.get_by_role("button", name="Disconnect alice").first.click()
            await expect(page.get_by_role("status")).to_contain_text("alice is being disconnected")
            await page.goto(f"{url}/console/events?type=carillon.*.disconnected")
            await comes_to_hold(page, page.locator("#rows tr"), 1)

        for number in (6, 7):
            await publish(url, number, subject="order/1", expectedversion="9")
        await page.goto(f"{url}/console/dead")
        await comes_to_hold(page, page.get_by_role("checkbox"), 2)
        await is_well_made(page, axe, "dead")
        await page.get_by_role("checkbox").first.check()
        await page.get_by_role("button", name="Requeue…").click()
        await is_well_made(page, axe, "dead-plan")
        await page.get_by_role("link", name="Leave it").click()
        await page.get_by_role("link", name="version-conflict").first.click()
        await is_well_made(page, axe, "letter")
        original = await page.get_by_label("The event as JSON").input_value()
        await page.get_by_label("The event as JSON").fill(original.replace('"9"', '"0"').replace("\n", "\n "))
        await page.get_by_role("button", name="Requeue as edited").click()
        await expect(page.get_by_role("status")).to_contain_text("1 requeued")
        await expect(page.get_by_role("checkbox")).to_have_count(1)
        await page.get_by_role("button", name="Drop all…").click()
        await page.get_by_role("button", name="Drop 1").click()
        await expect(page.get_by_text("whatever was published is in the log")).to_be_visible()
        await page.goto(f"{url}/console/events?subject=order/1")
        await comes_to_hold(page, page.locator("#rows tr"), 1)
        await page.goto(f"{url}/console/replay?type=counter.*")
        await page.get_by_role("button", name="Count first").click()
        await expect(page.get_by_role("button", name="Replay them")).to_be_visible(timeout=LIVE_WITHIN_MS)
        await is_well_made(page, axe, "replay-run")
        await page.get_by_role("button", name="Replay them").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Replayed", timeout=LIVE_WITHIN_MS)
        await page.goto(f"{url}/console/replay")
        await is_well_made(page, axe, "replay")

        await publish(url, 8, subject="deploy/7", data={"status": "running", "progress": 40, "steps": PIPELINE})
        await page.goto(f"{url}/console/runs")
        await comes_to_hold(page, page.get_by_role("link", name="deploy/7"), 1)
        await is_well_made(page, axe, "runs")
        await page.get_by_role("link", name="deploy/7").click()
        await expect(page.locator(".node")).to_have_count(len(PIPELINE))
        await is_well_made(page, axe, "run")
        await publish(url, 9, subject="deploy/7", data={"steps": {"docs": {"status": "completed"}}})
        await expect(page.locator(".node.done")).to_have_count(4, timeout=LIVE_WITHIN_MS)
        assert errors == []
