"""The page of `carillon dev` in a real browser: publish, see it, kill the server, see it go on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect
from playwright.async_api import Error as PlaywrightError

from services.dev.programs import MAX_RUNNING
from tests.e2e.conftest import SCREENSHOTS
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import DevPlatform

pytestmark = pytest.mark.browser

# The page waits for `retry:` before it reconnects, and the machine is busy.
RECONNECTED_WITHIN_MS = 60_000
# A program starts an interpreter of its own.
WITHIN_MS = 60_000
# As long as the page shows one.
TOAST_MS = 6_000


async def opened(browser: Browser, url: str, **context: object) -> tuple[Page, list[str]]:
    """The page, signed in and live, and the list that its errors will be in."""
    errors: list[str] = []
    page = await (await browser.new_context(**context)).new_page()  # type: ignore[arg-type]  # passed on as given
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(url)
    await is_live(page)
    return page, errors


async def is_live(page: Page) -> None:
    await expect(page.locator("#status")).to_have_attribute("data-state", "live", timeout=RECONNECTED_WITHIN_MS)


async def shown_ids(page: Page, count: int) -> list[str]:
    """The ids of the events on the page, newest first, once there are so many: they are counted a frame before."""
    items = page.locator("#events li[data-id]")
    await expect(items).to_have_count(count)
    ids: list[str] = await items.evaluate_all("items => items.map((item) => item.dataset.id)")
    return ids


async def publish(url: str, number: int, audience: str = "user:alice", **attributes: object) -> str:
    """Publishes as a producer would; returns the event's id."""
    event = {
        "specversion": "1.0",
        "id": f"e2e-{number}",
        "source": "/e2e",
        "type": "counter.raised",
        "audience": audience,
        "data": {"number": number},
    } | attributes
    async with httpx.AsyncClient(timeout=WITHIN_S) as client:
        headers = {"Authorization": "Bearer dev", "Content-Type": "application/cloudevents+json"}
        (await client.post(f"{url}/v1/events", json=event, headers=headers)).raise_for_status()
    return str(event["id"])


async def test_publish_from_the_page_and_from_the_pasted_curl(browser: Browser, tmp_path: Path) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        page, errors = await opened(browser, dev.ingest_url)
        await page.get_by_text("Write the event yourself").click()
        for sample in ("security_advisory.published", "sponsorship.created"):
            await page.get_by_role("button", name=sample).click()
            await page.get_by_role("button", name="Publish", exact=True).click()
            await expect(page.locator("#events .type").first).to_have_text(f"com.github.{sample}")
        await expect(page.locator("#outcome")).to_have_text(re.compile("accepted"))

        curl = await page.locator("#curl").text_content()
        shell = await asyncio.create_subprocess_exec("bash", "-c", f"{curl} -s", stdout=asyncio.subprocess.PIPE)
        answer, _ = await asyncio.wait_for(shell.communicate(), WITHIN_S)
        assert b'"accepted"' in answer, answer
        await expect(page.locator("#events .type").first).to_have_text("greeting.sent")
        await expect(page.locator("#count")).to_have_text("3")

        await page.reload()
        await expect(page.locator("#count")).to_have_text("3")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOTS / "page.png", full_page=True)
        assert errors == []


async def test_what_the_page_refuses_says_why(browser: Browser, tmp_path: Path) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        page, _ = await opened(browser, dev.ingest_url)
        await page.get_by_text("Write the event yourself").click()
        for field, value, said in (("audience", "bob", "bob"), ("type", "reset", "type"), ("data", "{", "JSON")):
            before = await page.locator(f"#{field}").input_value()
            await page.locator(f"#{field}").fill(value)
            await page.get_by_role("button", name="Publish", exact=True).click()
            await expect(page.locator("#outcome[data-bad]")).to_contain_text(said)
            await page.locator(f"#{field}").fill(before)
        await expect(page.locator("#count")).to_have_text("0")


async def test_each_user_sees_their_own(browser: Browser, tmp_path: Path) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        alice, _ = await opened(browser, dev.ingest_url)
        bob, _ = await opened(browser, dev.ingest_url)
        await bob.get_by_role("button", name="bob", exact=True).click()
        await expect(bob.get_by_role("button", name="bob", exact=True)).to_have_attribute("aria-pressed", "true")
        await is_live(bob)
        both = await publish(dev.ingest_url, 1, "everyone")
        for_bob = await publish(dev.ingest_url, 2, "user:bob")
        for_alice = await publish(dev.ingest_url, 3, "user:alice")
        await expect(alice.locator("#count")).to_have_text("2")
        await expect(bob.locator("#count")).to_have_text("2")
        assert await shown_ids(alice, 2) == [for_alice, both]
        assert await shown_ids(bob, 2) == [for_bob, both]


async def test_examples_run_beside_their_stream_and_what_was_cut_off_comes_from_the_log(
    browser: Browser, tmp_path: Path
) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        page, errors = await opened(browser, f"{dev.ingest_url}/?pace=0.1")
        for name in ("Run the workflow", "Run a job"):
            await page.get_by_role("button", name=name).click()
            await expect(page.locator("#outcome")).to_have_text(re.compile("started: "), timeout=WITHIN_MS)
        # What chance lets fail has ended, too.
        ended = page.locator(".run[data-status=completed], .run[data-status=failed]")
        await expect(ended).to_have_count(2, timeout=WITHIN_MS)
        assert await ended.locator("[data-step]").count() > 5

        await page.get_by_role("button", name="Cut the connection").click()
        await expect(page.locator("#status")).to_have_attribute("data-state", "offline", timeout=WITHIN_MS)
        missed = await publish(dev.ingest_url, 1, subject="order/1")
        await page.get_by_role("button", name="Let it resume").click()
        await is_live(page)
        await expect(page.locator("#events .note.back")).to_have_text("Resumed: 1 event came from the log")
        trace = page.locator(f"#events li[data-id={missed}] a.trace")
        await expect(trace).to_have_attribute("href", re.compile(r"/console/events/\d+"))
        assert errors == []


async def test_a_notification_is_in_the_inbox_and_a_toast_until_it_is_dismissed(
    browser: Browser, tmp_path: Path
) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        page, errors = await opened(browser, dev.ingest_url, viewport={"width": 1280, "height": 900})
        toasts = page.locator("carillon-inbox .toast")

        async def dismissed() -> None:
            await page.get_by_role("button", name="Send a notification").click()
            await expect(toasts.first).to_be_visible()
            await page.get_by_role("button", name=re.compile("Dismiss: ")).first.click(timeout=TOAST_MS)

        # Again where a busy machine is slower than the toast, which goes by itself in the end.
        await answered(dismissed, AssertionError, PlaywrightError)
        await expect(page.locator("carillon-inbox li").get_by_text("Build 812 passed").first).to_be_visible()
        await expect(toasts).to_have_count(0)
        assert errors == []


async def test_who_is_signed_out_leaves_nothing_in_any_tab_and_signing_in_brings_all_back(
    browser: Browser, tmp_path: Path
) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        one, errors = await opened(browser, f"{dev.ingest_url}/?pace=0.1")
        await one.get_by_role("button", name="Run a job").click()
        await expect(one.locator(".run[data-status=completed], .run[data-status=failed]")).to_have_count(
            1, timeout=WITHIN_MS
        )
        received = await one.locator("#count").text_content()
        assert received not in ("0", None)
        two = await one.context.new_page()
        await two.goto(dev.ingest_url)
        await is_live(two)
        await two.get_by_role("button", name="Sign out").click()
        for page in (one, two):
            await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible(timeout=WITHIN_MS)
            await expect(page.locator("#events li, .run, carillon-inbox li")).to_have_count(0)
            await expect(page.locator("#count")).to_have_text("0")
            await expect(page.get_by_role("button", name="Send a notification")).to_be_hidden()
        await two.get_by_role("button", name="Sign in as alice").click()
        for page in (one, two):
            await is_live(page)
            await expect(page.locator("#count")).to_have_text(received or "", timeout=WITHIN_MS)
            await expect(page.locator(".run")).to_have_count(1, timeout=WITHIN_MS)
        await two.get_by_role("button", name="bob", exact=True).click()
        await expect(one.get_by_role("heading", name="Somebody else has signed in")).to_be_visible(timeout=WITHIN_MS)
        await expect(one.locator("#events li, .run, carillon-inbox li")).to_have_count(0)
        await is_live(two)
        await expect(two.locator("#count")).to_have_text("0")
        assert errors == []


async def test_programs_are_started_for_the_page_only_and_nothing_else_is(tmp_path: Path) -> None:
    async with DevPlatform(tmp_path) as dev, httpx.AsyncClient(timeout=WITHIN_S) as client:
        await dev.start()
        for body, headers, status in (
            (b'{"program": "job", "user": "alice"}', {"Origin": "https://elsewhere.example"}, 403),
            (b'{"program": "rm", "user": "alice"}', {}, 400),
            (b'{"program": "job", "user": "root"}', {}, 400),
            (b'{"program": "job", "user": "alice", "pace": -1}', {}, 400),
            (b'["job"]', {}, 400),
            (b"x" * 2000, {}, 413),
        ):
            answer = await client.post(f"{dev.ingest_url}/dev/programs", content=body, headers=headers)
            assert answer.status_code == status, (body, answer.text)
        asked = {"program": "job", "user": "alice", "pace": 5}
        statuses = [(await client.post(f"{dev.ingest_url}/dev/programs", json=asked)).status_code for _ in range(6)]
        assert statuses == [202] * MAX_RUNNING + [429] * (6 - MAX_RUNNING)
        assert (await client.get(f"{dev.ingest_url}/healthz")).status_code == 200


@pytest.mark.parametrize("signal", ["kill", "terminate"])
async def test_the_stream_goes_on_after_the_server_was_killed(browser: Browser, tmp_path: Path, signal: str) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        page, errors = await opened(browser, dev.ingest_url)
        published: list[str] = []
        for round_ in range(3):
            published += [await publish(dev.ingest_url, 10 * round_ + number) for number in range(5)]
            await expect(page.locator("#count")).to_have_text(str(len(published)))
            if signal == "kill":
                dev.dev.kill()
            else:
                dev.dev.terminate()
                assert await dev.dev.ended() == 0
            await expect(page.locator("#status")).to_have_attribute("data-state", re.compile("offline|connecting"))
            await dev.start()
            # These come before the page is back: it must fetch them from the log.
            published += [await publish(dev.ingest_url, 10 * round_ + number) for number in range(5, 8)]
            await is_live(page)
            await expect(page.locator("#count")).to_have_text(str(len(published)))
        assert await shown_ids(page, len(published)) == published[::-1]
        assert errors == []


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("desk-light", {"viewport": {"width": 1200, "height": 850}, "color_scheme": "light"}),
        ("desk-dark", {"viewport": {"width": 1200, "height": 850}, "color_scheme": "dark"}),
        ("phone-light", {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"}),
        ("phone-dark", {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}),
    ],
)
async def test_nothing_overflows(browser: Browser, tmp_path: Path, name: str, context: dict[str, object]) -> None:
    async with DevPlatform(tmp_path) as dev:
        await dev.start()
        page, _ = await opened(browser, dev.ingest_url, **context)
        await publish(dev.ingest_url, 1, "user:alice everyone")
        await expect(page.locator("#count")).to_have_text("1")
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
