"""`<carillon-inbox>` in real Chromium, with a real server's inbox."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright

from tests.e2e.conftest import AXE, CHROMIUM_ARGUMENTS, SCREENSHOTS, chromium
from tests.e2e.tabs import Tabs
from tests.harness.platform import DevPlatform
from tests.harness.publisher import Publisher

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
]

# What is folded late on a busy machine is shown late.
WITHIN_MS = 60_000
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 780}
MANY = 1_000
PUBLISH_AT_ONCE = 50

OPEN = """async ({lang, dir, strings}) => {
  document.documentElement.lang = lang;
  document.documentElement.dir = dir;
  document.title = "Inbox";
  document.body.replaceChildren(document.createElement("main"));
  document.body.style.cssText =
    "margin:0;min-height:100vh;color-scheme:light dark;background:light-dark(#f7f8fa,#0f1116)";
  const main = document.querySelector("main");
  main.style.cssText = "display:flex;justify-content:flex-end;padding:12px";
  await import("/client/inbox-element.js");
  globalThis.box = document.createElement("carillon-inbox");
  if (strings) box.strings = strings;
  main.append(box);
  globalThis.inside = (selector) => box.shadowRoot.querySelector(selector);
  globalThis.all = (selector) => [...box.shadowRoot.querySelectorAll(selector)];
  globalThis.focused = () => box.shadowRoot.activeElement?.className.replace("icon ", "") ?? null;
  globalThis.titles = () => all("li .name").map((each) => each.textContent);
}"""

NOTICES: Sequence[dict[str, Any]] = (
    {"title": "Welcome to Carillon", "body": "This is where you hear what happens.", "level": "info"},
    {"title": "Your export is ready", "body": "orders-2026.csv, 3 MB", "level": "success", "link": "/exports/7"},
    {"title": "Disk almost full", "body": "db-2 has 4% left.", "level": "warning", "topic": "ops"},
    {"title": "Build 812 failed", "body": "2 of 240 tests.", "level": "error", "link": "https://ci.example/812"},
)
HOSTILE: Sequence[dict[str, Any]] = (
    {"title": "<script>globalThis.hit=1</script><img src=x onerror='globalThis.hit=1'>"},
    {"title": "W" * 400, "body": "x" * 3_000},
    {"title": "\u202egnp.exe\u202c \u2067abc\u2069", "body": "👩‍👩‍👧‍👦" * 40},
    {"title": "إشعار جديد", "body": "مرحبا"},
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevPlatform]:
    async with DevPlatform(tmp_path_factory.mktemp("inbox"), heartbeat_s=1.0, retry_ms=200) as platform:
        yield await platform.start()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_ARGUMENTS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def publisher(dev: DevPlatform) -> AsyncIterator[Publisher]:
    async with dev.publisher() as entered:
        yield entered


class Reader:
    """A user before a page with the element."""

    def __init__(self, tabs: Tabs, page: Page, publisher: Publisher) -> None:
        self.tabs, self.page, self.publisher = tabs, page, publisher

    async def is_told(self, *notices: dict[str, Any]) -> None:
        for notice in notices:
            await self.publisher.publish(f"user:{self.tabs.user}", type="notification.sent", data=notice)

    async def shows(self, lang: str = "en", dir_: str = "ltr", strings: object = None) -> None:
        """Puts the element on the page."""
        await self.page.evaluate(OPEN, {"lang": lang, "dir": dir_, "strings": strings})

    async def until(self, expression: str, argument: object = None) -> None:
        await self.page.wait_for_function(expression, arg=argument, timeout=WITHIN_MS)

    async def has(self, count: int) -> None:
        await self.until("count => all('li').length === count", count)

    async def opens(self, count: int) -> None:
        """What comes after the panel was opened waits until it is asked for."""
        await self.page.click("carillon-inbox .bell")
        await self.until(
            "count => { if (!inside('.fresh').hidden) inside('.fresh').click(); return all('li').length === count }",
            count,
        )

    async def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"inbox-{name}.png")


@pytest_asyncio.fixture(loop_scope="module")
async def reader(dev: DevPlatform, browser: Browser, publisher: Publisher) -> AsyncIterator[Reader]:
    tabs = await Tabs.of(browser, dev.ingest_url, f"u{secrets.token_hex(4)}", dev.jwt_secret)
    tab = await tabs.visit()
    await tab.page.set_viewport_size({"width": DESK["width"], "height": DESK["height"]})
    yield Reader(tabs, tab.page, publisher)
    assert tab.errors == []
    await tabs.context.close()


async def test_what_comes_is_counted_seen_read_and_archived(reader: Reader) -> None:
    await reader.is_told(*NOTICES)
    await reader.shows()
    await reader.until("() => inside('.bell').ariaLabel === 'Notifications, 4 unread'")
    assert await reader.page.evaluate("inside('.count').textContent") == "4"
    await reader.opens(4)
    assert await reader.page.evaluate("titles()") == [str(notice["title"]) for notice in reversed(NOTICES)]
    # In sight for a second, all are seen, and none is read by that.
    counts = "(async () => (await box.client.request('/v1/inbox/counts')).json())()"
    await reader.until(f"async () => {{ const c = await {counts}; return c.unseen === 0 && c.unread === 4 }}")
    # What comes now moves nothing before it is asked for.
    await reader.is_told({"title": "Fresh"})
    await reader.until("() => !inside('.fresh').hidden && inside('.fresh').textContent === '1 new'")
    assert len(await reader.page.evaluate("titles()")) == 4
    assert await reader.page.evaluate("inside('[role=status]').textContent") == "New notification: Fresh"
    await reader.page.click("carillon-inbox .fresh")
    await reader.has(5)
    await reader.page.click("carillon-inbox li:first-child .toggle")
    await reader.until("() => inside('.count').textContent === '4'")
    await reader.page.click("carillon-inbox li:first-child .archive")
    await reader.has(4)
    await reader.page.click("carillon-inbox .filters button:nth-child(3)")
    await reader.until("() => titles().join() === 'Fresh'")
    await reader.page.click("carillon-inbox li .archive")
    await reader.until("() => inside('.state').textContent === 'Nothing archived'")
    await reader.page.click("carillon-inbox .filters button:nth-child(1)")
    await reader.page.click("carillon-inbox .quiet[part=mark-all]")
    await reader.until("() => inside('.count').hidden && all('li[data-unread]').length === 0")


async def test_what_the_server_refuses_is_taken_back_and_said(reader: Reader) -> None:
    await reader.is_told(*NOTICES)
    await reader.shows()
    await reader.opens(4)
    held = asyncio.Event()

    async def refuse(route: Route) -> None:
        await held.wait()
        await route.fulfill(status=503, content_type="text/html", body="<h1>no</h1>")

    await reader.page.route("**/v1/inbox/archive", refuse)
    await reader.page.click("carillon-inbox li:first-child .archive")
    await reader.has(3)
    held.set()
    await reader.has(4)
    await reader.until("() => inside('[role=status]').textContent.startsWith('This did not work')")


async def test_by_keys_alone(reader: Reader) -> None:
    await reader.is_told(*NOTICES)
    await reader.shows()
    await reader.until("() => inside('.count').textContent === '4'")
    press = reader.page.keyboard.press
    await press("Tab")
    assert await reader.page.evaluate("focused()") == "bell"
    await press("Enter")
    await reader.has(4)
    assert await reader.page.evaluate("focused()") == "panel"
    await press("ArrowDown")
    await press("End")
    assert await reader.page.evaluate("all('li').at(-1).contains(box.shadowRoot.activeElement)")
    await press("Enter")
    await reader.until("() => inside('.count').textContent === '3'")
    assert await reader.page.evaluate("focused()") == "main"
    await press("Tab")
    await press("Tab")
    assert await reader.page.evaluate("focused()") == "archive"
    await press("Enter")
    await reader.has(3)
    # The focus is not lost with what had it.
    assert await reader.page.evaluate("all('li').at(-1).contains(box.shadowRoot.activeElement)")
    await press("Escape")
    assert await reader.page.evaluate("[focused(), inside('.panel').hidden]") == ["bell", True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_and_it_fits(reader: Reader, scheme: Any) -> None:
    await reader.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await reader.is_told(*NOTICES, *HOSTILE)
    await reader.shows()
    await reader.opens(8)
    await reader.page.add_script_tag(path=AXE)
    for view, size in {"desk": DESK, "phone": PHONE}.items():
        await reader.page.set_viewport_size({"width": size["width"], "height": size["height"]})
        await reader.picture(f"{view}-{scheme}")
        found = await reader.page.evaluate("axe.run('main').then(({violations}) => violations)")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
        assert await reader.page.evaluate("inside('.scroll').scrollWidth <= inside('.scroll').clientWidth")
        assert await reader.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await reader.page.evaluate("globalThis.hit") is None
    assert await reader.page.evaluate("titles()") == [each["title"] for each in reversed([*NOTICES, *HOSTILE])]
    assert await reader.page.evaluate("all('a').map((a) => new URL(a.href).pathname)") == ["/812", "/exports/7"]


async def test_from_right_to_left_in_words_of_the_page(reader: Reader) -> None:
    await reader.is_told(*NOTICES)
    await reader.shows("ar", "rtl", {"title": "الإشعارات", "all": "الكل"})
    await reader.opens(4)
    await reader.picture("rtl")
    left = "(s) => inside(s).getBoundingClientRect().left"
    assert await reader.page.evaluate(f"({left})('li .level') > ({left})('li .toggle')")
    assert await reader.page.evaluate("inside('h2').textContent") == "الإشعارات"
    assert await reader.page.evaluate("inside('li time').textContent") == await reader.page.evaluate(
        "new Intl.RelativeTimeFormat('ar', { numeric: 'auto', style: 'short' }).format(0, 'second')"
    )


async def test_who_is_signed_out_sees_nothing_of_what_was_there(reader: Reader) -> None:
    await reader.is_told(*NOTICES)
    await reader.shows()
    await reader.opens(4)
    await reader.page.evaluate("box.client.request('/v1/session', { method: 'DELETE' })")
    await reader.until("() => inside('.state').textContent.startsWith('You are signed out')")
    assert await reader.page.evaluate("[all('li').length, inside('.count').hidden]") == [0, True]
    await reader.picture("expired")


async def test_a_thousand_are_scrolled_through(reader: Reader) -> None:
    for start in range(0, MANY, PUBLISH_AT_ONCE):
        each = [reader.is_told({"title": f"Build {number}"}) for number in range(start, start + PUBLISH_AT_ONCE)]
        await asyncio.gather(*each)
    await reader.shows()
    await reader.until("() => inside('.count').textContent === '99+'")
    await reader.page.click("carillon-inbox .bell")
    await reader.until("""() => {
      const list = inside('.scroll');
      list.scrollTop = list.scrollHeight;
      return all('li').length === 1000 && inside('.older').hidden;
    }""")
    assert len(set(await reader.page.evaluate("titles()"))) == MANY


async def test_a_first_load_that_fails_says_so_and_goes_on_by_itself(reader: Reader) -> None:
    await reader.is_told(*NOTICES[:2])
    failing = True

    async def answer(route: Route) -> None:
        await (
            route.fulfill(status=500, content_type="text/html", body="<h1>Oops</h1>") if failing else route.continue_()
        )

    await reader.page.route("**/v1/inbox?*", answer)
    await reader.shows()
    await reader.page.click("carillon-inbox .bell")
    await reader.until(
        "() => all('.note, .state').some((each) => !each.hidden && each.textContent.startsWith('This did not work'))"
    )
    failing = False
    await reader.has(2)
    await reader.until("() => inside('.note').hidden")


async def test_a_page_draws_bell_items_and_the_empty_list_itself(reader: Reader) -> None:
    await reader.shows()
    await reader.page.evaluate("""() => {
      box.innerHTML = `<span slot="bell">News</span><p slot="empty">Nothing, so far.</p>
        <template slot="item"><article><b data-text="title"></b> <i data-text="level"></i></article></template>`;
      box.remove();
      document.querySelector("main").append(box);
    }""")
    await reader.until("() => inside('.bell slot').assignedElements()[0]?.textContent === 'News'")
    await reader.page.click("carillon-inbox .bell")
    await reader.page.get_by_text("Nothing, so far.").wait_for(timeout=WITHIN_MS)
    await reader.is_told({"title": "<b>Drawn</b>", "level": "warning"})
    await reader.until("() => !inside('.fresh').hidden || all('li').length === 1")
    if await reader.page.evaluate("!inside('.fresh').hidden"):
        await reader.page.click("carillon-inbox .fresh")
    await reader.has(1)
    assert await reader.page.evaluate("inside('li article b').textContent") == "<b>Drawn</b>"
    assert await reader.page.evaluate("inside('li article i').textContent") == "warning"


async def test_the_system_tells_while_no_tab_is_in_sight(reader: Reader) -> None:
    """Chromium without a screen shows no notifications: what it is asked to show is recorded."""
    await reader.page.context.grant_permissions(["notifications"])
    await reader.page.evaluate("""() => {
      globalThis.told = [];
      const System = Notification;
      globalThis.Notification = class extends System {
        constructor(title, options) { super(title, options); told.push([title, options.body]); }
      };
    }""")
    await reader.shows()
    await reader.page.evaluate("""() => {
      globalThis.arrived = 0;
      box.addEventListener("carillon-arrival", ({ detail }) => (arrived += detail.items.length));
      box.toggleAttribute("desktop", true);
    }""")
    await reader.until("() => box.client?.status === 'live'")
    await reader.is_told(NOTICES[0])
    await reader.until("() => arrived === 1")
    assert await reader.page.evaluate("told") == [], "the page is in sight"
    await reader.page.evaluate("""() => {
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }""")
    await reader.until(
        "async () => !(await navigator.locks.query()).held.some(({ name }) => name === 'carillon in sight')"
    )
    await reader.is_told(NOTICES[2])
    await reader.until("() => told.length === 1")
    assert await reader.page.evaluate("told") == [[NOTICES[2]["title"], NOTICES[2]["body"]]]
