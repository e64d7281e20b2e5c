"""Login with a real browser at a certified OpenID Connect provider: there, back, who is it, and out again.

At the edge, and at the console of the same platform.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from infra.local.servers import free_port
from tests.e2e import oidc
from tests.e2e.conftest import AXE
from tests.e2e.npm import install
from tests.e2e.test_console import LIVE_WITHIN_MS, comes_to_hold, is_well_made
from tests.harness.platform import DevPlatform

pytestmark = pytest.mark.browser

WANTED = "/v1/session?a=1&b=%2F%2Fx"
OURS = re.compile(r"https?://(localhost|127\.0\.0\.1)[:/]")


CALLBACK_PATH, CONSOLE_CALLBACK_PATH = "/v1/login/callback", "/console/login/callback"
# Resolves with the data of the first event, once it is there; `connected` is told before.
FIRST_EVENT = """() => new Promise((resolve) => {
  const events = new EventSource('/v1/events?topics=builds/main');
  events.addEventListener('connected', () => { document.title = 'connected'; });
  events.addEventListener('build.done', ({ data }) => { events.close(); resolve(JSON.parse(data)); });
})"""


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest) -> Path:
    """Where the provider is."""
    plugins = request.config.pluginmanager

    def tell(line: str) -> None:
        with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
            plugins.get_plugin("terminalreporter").write_line(line)

    return install(oidc.HERE, tell)


@pytest.fixture
def axe() -> str:
    return AXE.read_text()


@dataclass
class Site:
    """A platform that trusts the provider, and the browser of those who use both."""

    platform: DevPlatform
    browser: Browser

    @property
    def url(self) -> str:
        return self.platform.dev.url

    async def person(self) -> Person:
        """Somebody with a browser of their own."""
        context = await self.browser.new_context()
        await context.route("**/*", _stay_here)
        return Person(self, context)


async def _stay_here(route: Route) -> None:
    """The provider's pages would fetch a font from the Internet."""
    await (route.continue_() if OURS.match(route.request.url) else route.abort())


@dataclass
class Person:
    """Cookies, and pages to look at."""

    site: Site
    context: BrowserContext

    async def begin(self, return_to: str = "/v1/session") -> Page:
        """A page that went to log in."""
        page = await self.context.new_page()
        await self.go_and_log_in(page, return_to)
        return page

    async def go_and_log_in(self, page: Page, return_to: str = "/v1/session") -> None:
        escaped = await page.evaluate("encodeURIComponent", return_to)
        await page.goto(f"{self.site.url}/v1/login?return_to={escaped}")

    async def cookies(self) -> dict[str, Any]:
        """Those that the edge would be sent by any page, by name."""
        return {cookie["name"]: cookie for cookie in await self.context.cookies([f"{self.site.url}/v1/login"])}


async def sign_in(page: Page, name: str, *, consents: bool = True) -> None:
    """Name, password, and yes to what the client asks for, which the provider asks once in a browser."""
    await page.locator("input[name=login]").fill(name)
    await page.locator("input[name=password]").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    if consents:
        await page.get_by_role("button", name="Continue").click()


async def first_event(site: Site, page: Page) -> dict[str, Any]:
    """What comes to the page of a topic that the provider granted, as its pattern."""
    arrived = asyncio.create_task(page.evaluate(FIRST_EVENT))
    await expect(page).to_have_title("connected")
    async with site.platform.publisher() as publisher:
        await publisher.publish("topic:builds/main", type="build.done", data={"number": 7})
    event: dict[str, Any] = await arrived
    return event


async def shown_session(page: Page) -> dict[str, Any]:
    """What GET /v1/session says, once the browser is back there."""
    await page.wait_for_url("**/v1/session*")
    shown: dict[str, Any] = json.loads(await page.locator("body").inner_text())
    return shown


@pytest.fixture
async def site(browser: Browser, tmp_path: Path, installed: Path) -> AsyncIterator[Site]:
    # `localhost`, where the platform is `127.0.0.1`: another site, so that SameSite is put to the test.
    issuer = f"http://localhost:{free_port()}"
    platform = DevPlatform(
        tmp_path, oidc_issuer=issuer, oidc_client_id=oidc.CLIENT_ID, oidc_client_secret=oidc.CLIENT_SECRET,
        console_operator_roles=["carillon-operator"], console_viewer_roles=["carillon-viewer"],
    )  # fmt: skip
    callbacks = [platform.dev.url + path for path in (CALLBACK_PATH, CONSOLE_CALLBACK_PATH)]
    async with oidc.provider(installed, issuer, *callbacks), platform:
        await platform.start()
        yield Site(platform, browser)


async def test_in_and_out_and_in_again(site: Site) -> None:
    alice = await site.person()
    page = await alice.begin(WANTED)
    await sign_in(page, "alice")
    session = await shown_session(page)
    assert page.url == site.url + WANTED
    assert session["sub"] == "alice"
    assert {"user:alice", "topic:builds/*", "topic:team-of-alice"} <= set(session["tags"])
    # Nothing of the login is left, and no script can read what came of it.
    [(name, cookie)] = (await alice.cookies()).items()
    assert (name, cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == ("carillon", True, "Lax", "/")
    refused = "fetch('/v1/events?topics=secret').then(answer => answer.status)"
    assert await page.evaluate(refused) == 403
    assert (await first_event(site, page))["data"] == {"number": 7}

    assert await page.evaluate("fetch('/v1/session', {method: 'DELETE'}).then(answer => answer.status)") == 204
    assert await page.evaluate("fetch('/v1/session').then(answer => answer.status)") == 401
    assert await alice.cookies() == {}

    # The provider still knows her: no form this time, and another session.
    await alice.go_and_log_in(page, "/v1/session")
    again = await shown_session(page)
    assert again["sub"] == "alice"
    assert again["sid"] != session["sid"]


async def test_two_tabs_and_two_people_at_once(site: Site) -> None:
    alice, bob = await site.person(), await site.person()
    first, second, other = await alice.begin("/v1/session?1"), await alice.begin("/v1/session?2"), await bob.begin()
    assert len(await alice.cookies()) == 2
    await sign_in(other, "bob")
    await sign_in(second, "alice")
    await sign_in(first, "alice", consents=False)
    assert (await shown_session(other))["sub"] == "bob"
    assert (await shown_session(first))["sub"] == (await shown_session(second))["sub"] == "alice"
    assert (first.url, second.url) == (f"{site.url}/v1/session?1", f"{site.url}/v1/session?2")
    assert set(await alice.cookies()) == {"carillon"}


async def test_who_says_no_can_try_again(site: Site) -> None:
    alice = await site.person()
    page = await alice.begin(WANTED)
    await page.get_by_role("link", name="Cancel").click()
    await expect(page.get_by_role("heading")).to_have_text("You are not logged in")
    await expect(page.locator("p").first).to_contain_text("access was denied")
    assert await alice.cookies() == {}
    await page.get_by_role("link", name="Try again").click()
    await sign_in(page, "alice")
    assert (await shown_session(page))["sub"] == "alice"
    assert page.url == site.url + WANTED


async def test_the_answer_of_the_provider_opens_one_session_only(site: Site) -> None:
    alice, mallory = await site.person(), await site.person()
    page = await alice.begin()
    answers: list[str] = []
    page.on("request", lambda request: answers.append(request.url) if CALLBACK_PATH in request.url else None)
    await sign_in(page, "alice")
    await shown_session(page)
    [answer] = answers
    for person in (alice, mallory):
        again = await person.context.new_page()
        got = await again.goto(answer)
        assert got is not None
        assert got.status == 400
        await expect(again.locator("p").first).to_contain_text("this browser did not begin this login")
    assert set(await mallory.cookies()) == set()


async def test_a_user_that_the_directory_has_wrong_is_told_what(site: Site) -> None:
    page = await (await site.person()).begin()
    await sign_in(page, "bob-broken")
    await expect(page.locator("p").first).to_contain_text("carillon_tags: 'admins' is not a tag")


async def test_the_console_lets_in_by_role(site: Site, axe: str) -> None:
    context = (await site.person()).context
    page = await context.new_page()
    await page.goto(f"{site.url}/console/connections?user=alice")
    await is_well_made(page, axe, "login-oidc")
    await page.get_by_role("link", name="Sign in at localhost").click()
    await sign_in(page, "sam")
    await expect(page.get_by_role("heading", level=1)).to_have_text("You have no role for this console")
    await expect(page.locator("main")).to_contain_text("the claim roles of who signs in. Yours holds staff")
    await is_well_made(page, axe, "no-role")

    # The provider knows Sam by now, and is asked to let another in.
    await page.get_by_role("link", name="Sign in as another").click()
    await sign_in(page, "vera-viewer")
    await expect(page).to_have_url(f"{site.url}/console/connections?user=alice")
    await expect(page.locator(".who")).to_contain_text("vera read-only")

    async with site.platform.readers() as readers:
        await readers.open("alice")
        await expect(page.get_by_role("cell", name="127.0.0.1")).to_be_visible(timeout=LIVE_WITHIN_MS)
        await expect(page.get_by_role("button", name="Disconnect")).to_have_count(0)
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="as somebody else").click()
        await sign_in(page, "olga-operator")
        # Who goes elsewhere before the answer of the provider has come is not signed in.
        await expect(page.locator(".who")).to_contain_text("olga")
        await page.goto(f"{site.url}/console/connections")
        await page.get_by_role("button", name="Disconnect alice").click()
        await expect(page.get_by_role("status")).to_contain_text("alice is being disconnected")

    await page.goto(f"{site.url}/console/events?type=carillon.operator.acted")
    await comes_to_hold(page, page.locator("#rows tr"), 1)
    await page.locator("#rows .type").click()
    await expect(page.locator("pre").first).to_contain_text('"sub": "olga-operator"')
