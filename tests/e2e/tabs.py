"""A user's browser with its tabs, each a real page that uses the browser client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page

from services.edge.tokens import sign_token
from tests.harness.checker import Delivery, Reading

FOLLOW = Path(__file__).with_name("tab.js")
# Reconnects wait for `retry:` and their jitter, and two cores serve browser, server and test.
WITHIN_MS = 60_000
LOOK_EVERY_MS = 50


class Tab:
    """One page that follows the stream. What it has seen so far outlives its reloads."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.errors: list[str] = []
        self.said: list[str] = []
        self.reading = Reading(name, frozenset(), "")
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.said.append(message.text))

    async def follow(self, **options: object) -> None:
        """Connects; returns at once."""
        # `from` is a word of Python's.
        await self.page.evaluate(
            "options => follow(options)", {name.rstrip("_"): value for name, value in options.items()}
        )

    async def is_(self, status: str, reason: str | None = None) -> None:
        """Returns once that is the status."""
        await self.until("([status, reason]) => tab.client.status === status && "
                         "(!reason || tab.client.situation.reason === reason)", [status, reason])  # fmt: skip

    async def sees(self, *ids: str) -> None:
        """Returns once these are exactly the ids of the events that it was given, in this order."""
        await self.until("ids => tab.seen.length >= ids.length", list(ids))
        assert await self.seen_ids() == list(ids), self.name

    async def until(self, expression: str, argument: object = None, within_ms: float = WITHIN_MS) -> None:
        """Returns once the function in the page is true."""
        try:
            await self.page.wait_for_function(expression, arg=argument, timeout=within_ms, polling=LOOK_EVERY_MS)
        except Exception as late:
            state = await self.page.evaluate("() => [tab.client.situation, tab.client.sharing, tab.client.cursor]")
            late.add_note(f"{self.name}: {state}, saw {await self.seen_ids()}")
            raise

    async def seen_ids(self) -> list[str]:
        return [str(each) for each in await self.page.evaluate("() => tab.seen.map(({ data }) => data.id)")]

    async def value(self, expression: str) -> Any:
        """What an expression over `tab` is in the page."""
        return await self.page.evaluate(f"() => {expression}")

    async def begins_here(self) -> None:
        """Notes where its slice of the log begins, and whose it is."""
        self.reading.start = await self.value("tab.client.cursor")
        session = await self.page.evaluate("async () => (await tab.client.request('/v1/session')).json()")
        self.reading.tags = frozenset(session["tags"])

    async def note(self) -> None:
        """Takes over what the page has been given since it was loaded; call before it is reloaded or closed."""
        for seen in await self.value("tab.seen.splice(0)"):
            self.reading.deliveries.append(Delivery(seen["cursor"], seen["type"], seen["data"]))
        self.reading.resets += await self.value("tab.resets.splice(0)")


class Tabs:
    """A browser profile of one user, signed in."""

    def __init__(self, context: BrowserContext, url: str, user: str) -> None:
        self.context, self.url, self.user = context, url, user
        self.tabs: list[Tab] = []

    @classmethod
    async def of(cls, browser: Browser, url: str, user: str, jwt_secret: str, **claims: Any) -> Tabs:
        """A new profile, in which the user has signed in."""
        context = await browser.new_context()
        await context.add_init_script(path=FOLLOW)
        tabs = cls(context, url, user)
        await tabs.sign_in(user, jwt_secret, **claims)
        return tabs

    async def sign_in(self, user: str, jwt_secret: str, **claims: Any) -> None:
        """As the user's own backend would."""
        token = sign_token(jwt_secret, user, **claims)
        answer = await self.context.request.post(f"{self.url}/v1/session", headers={"Authorization": f"Bearer {token}"})
        assert answer.ok, await answer.text()

    async def sign_out(self) -> None:
        """By a page, as users do."""
        await self.tabs[0].page.evaluate("() => tab.client.request('/v1/session', { method: 'DELETE' })")

    async def open(self, **options: object) -> Tab:
        """A new tab that follows the stream, live."""
        tab = await self.visit()
        await tab.follow(**options)
        await tab.is_("live")
        await tab.begins_here()
        return tab

    async def open_several(self, count: int, **options: object) -> Sequence[Tab]:
        return [await self.open(**options) for _ in range(count)]

    async def visit(self) -> Tab:
        """A new tab on a page of the edge's own origin."""
        tab = Tab(await self.context.new_page(), f"{self.user}#{len(self.tabs) + 1}")
        self.tabs.append(tab)
        await tab.page.goto(f"{self.url}/healthz")
        return tab

    async def sharing(self) -> list[str]:
        """How each tab comes by its events, sorted."""
        return sorted([await tab.value("tab.client.sharing") for tab in self.tabs if not tab.page.is_closed()])

    async def leader(self) -> Tab:
        """The tab that has the connection."""
        for tab in self.tabs:
            if not tab.page.is_closed() and await tab.value("tab.client.sharing") == "leader":
                return tab
        raise AssertionError("nobody leads")

    async def followers(self) -> list[Tab]:
        leader = await self.leader()
        return [tab for tab in self.tabs if tab is not leader and not tab.page.is_closed()]
