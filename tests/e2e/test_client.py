"""The browser client in real Chromium, against a real server that is killed, stopped and cut off."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import groupby

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from services.edge.tokens import sign_token
from tests.e2e.conftest import CHROMIUM_ARGUMENTS, chromium
from tests.e2e.tabs import Tab, Tabs
from tests.e2e.test_clients import hostile_events
from tests.eventually import answered, eventually
from tests.harness.checker import check_promises
from tests.harness.platform import DevPlatform
from tests.harness.publisher import Audiences, Publisher

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
]

OPERATOR_KEY = "harness-operator"
OPERATOR = {"Authorization": f"Bearer {OPERATOR_KEY}"}
HEARTBEAT_S = 1.0
LOAD_PER_S = 20.0
KILLS = 3
SESSION_S = 4
BACK_WITHIN_MS = 90_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevPlatform]:
    """One server for all: each test has a user of its own, and who kills it starts it again."""
    settings = {"operator_keys": f"harness={OPERATOR_KEY}", "heartbeat_s": HEARTBEAT_S, "retry_ms": 200}
    async with DevPlatform(tmp_path_factory.mktemp("client"), **settings) as platform:
        yield await platform.start()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """With its back/forward cache, which Playwright takes away."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=list(CHROMIUM_ARGUMENTS),
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def publisher(dev: DevPlatform) -> AsyncIterator[Publisher]:
    async with dev.publisher() as entered:
        yield entered


@pytest_asyncio.fixture(loop_scope="module")
async def profile(dev: DevPlatform, browser: Browser) -> AsyncIterator[Callable[..., Awaitable[Tabs]]]:
    """Makes browser profiles, each of a new user."""
    made: list[Tabs] = []

    async def new(**claims: object) -> Tabs:
        tabs = await Tabs.of(browser, dev.ingest_url, f"u{secrets.token_hex(4)}", dev.jwt_secret, **claims)
        made.append(tabs)
        return tabs

    yield new
    for tabs in made:
        await tabs.context.close()


Profile = Callable[..., Awaitable[Tabs]]


async def publish(publisher: Publisher, tabs: Tabs, count: int = 1) -> list[str]:
    """Ids of new events to the user, in order."""
    return [
        str((await publisher.publish(f"user:{tabs.user}", data={"number": number})).attributes["id"])
        for number in range(count)
    ]


async def connections(tabs: Tabs) -> int:
    """How many streams the user has open, as the server counts them."""
    async with httpx.AsyncClient(base_url=tabs.url, headers=OPERATOR, timeout=60) as client:
        return len((await client.get("/v1/connections", params={"user": tabs.user})).json()["connections"])


async def has_connections(tabs: Tabs, count: int) -> None:
    """Returns once the server counts so many; its list lags by a second."""

    async def look() -> None:
        assert await connections(tabs) == count

    await answered(look, AssertionError)


async def test_seven_tabs_share_one_connection_and_all_are_live(profile: Profile, publisher: Publisher) -> None:
    """Over HTTP/1.1, which gives a browser six connections to a host."""
    tabs = await profile()
    await tabs.open_several(7)
    await has_connections(tabs, 1)
    assert await tabs.sharing() == ["follower"] * 6 + ["leader"]
    ids = await publish(publisher, tabs, 3)
    for tab in tabs.tabs:
        await tab.sees(*ids)
        assert await tab.value("tab.client.request('/v1/session').then(({ ok }) => ok)"), "connections are left"
        assert tab.errors == []


async def test_when_the_leader_goes_another_goes_on_without_gap_or_repeat(
    profile: Profile, publisher: Publisher
) -> None:
    tabs = await profile()
    await tabs.open_several(3)
    ids = await publish(publisher, tabs, 2)
    for tab in tabs.tabs:
        await tab.sees(*ids)
    for _ in range(2):
        leader = await tabs.leader()
        closing = asyncio.create_task(leader.page.close(), name="close")
        ids += await publish(publisher, tabs, 3)
        await closing
        for tab in [tab for tab in tabs.tabs if not tab.page.is_closed()]:
            await tab.sees(*ids)
    await has_connections(tabs, 1)
    assert await tabs.sharing() == ["leader"]


async def test_a_tab_that_comes_late_or_is_reloaded_gets_what_it_needs(profile: Profile, publisher: Publisher) -> None:
    tabs = await profile()
    first = await tabs.open()
    ids = await publish(publisher, tabs, 4)
    await first.sees(*ids)
    cursors = await first.value("tab.seen.map(({ cursor }) => cursor)")
    late, all_, here = await tabs.open(from_=cursors[1]), await tabs.open(from_="earliest"), await tabs.open(keep=True)
    await late.sees(*ids[2:])
    await all_.sees(*ids)
    new = await publish(publisher, tabs)
    await here.sees(*new)

    await here.page.goto("about:blank")
    missed = await publish(publisher, tabs, 2)
    await here.page.goto(f"{tabs.url}/healthz")
    await here.follow(keep=True)
    await here.sees(*missed)
    assert await tabs.sharing() == ["follower"] * 3 + ["leader"]


async def test_tabs_with_other_topics_and_types_each_get_what_they_asked_for(
    profile: Profile, publisher: Publisher
) -> None:
    tabs = await profile(tags=["topic:builds", "topic:orders"])
    jobs, builds, both = await tabs.open(types=["job.*"]), await tabs.open(topics=["builds"]), await tabs.open()
    done = await publisher.publish(f"user:{tabs.user}", type="job.done")
    built = await publisher.publish("topic:builds", type="build.done")
    ordered = await publisher.publish("topic:orders", type="order.created")
    ids = {name: str(each.attributes["id"]) for name, each in (("job", done), ("build", built), ("order", ordered))}
    await both.sees(ids["job"], ids["build"], ids["order"])
    await builds.sees(ids["job"], ids["build"])
    await jobs.sees(ids["job"])
    await has_connections(tabs, 2)


async def test_signing_out_in_one_tab_ends_all_and_signing_in_brings_them_back(
    profile: Profile, publisher: Publisher, dev: DevPlatform
) -> None:
    tabs = await profile()
    await tabs.open_several(3)
    await tabs.sign_out()
    for tab in tabs.tabs:
        await tab.is_("expired", "signed-out")
    await has_connections(tabs, 0)
    missed = await publish(publisher, tabs)
    await tabs.sign_in(tabs.user, dev.jwt_secret)
    await tabs.open()
    for tab in tabs.tabs[:3]:
        await tab.is_("live")
        await tab.sees(*missed)


async def test_when_another_user_signs_in_no_tab_shows_one_of_them_what_is_the_others(
    profile: Profile, publisher: Publisher, dev: DevPlatform
) -> None:
    tabs = await profile()
    first, second = await tabs.open_several(2)
    await tabs.sign_in("mallory", dev.jwt_secret)
    theirs = await tabs.open()
    for tab in (first, second):
        await tab.is_("expired", "other-user")
    secret = await publisher.publish("user:mallory")
    await theirs.sees(str(secret.attributes["id"]))
    await publish(publisher, tabs)
    assert (await first.seen_ids(), await second.seen_ids(), await theirs.value("tab.client.user")) == (
        [],
        [],
        "mallory",
    )


async def test_a_session_that_ends_is_told_and_the_apps_token_opens_another(
    profile: Profile, publisher: Publisher, dev: DevPlatform
) -> None:
    told, renewed = await profile(ttl_s=SESSION_S), await profile(ttl_s=SESSION_S)
    # Whether it is live before, a busy machine decides.
    without, with_ = await told.visit(), await renewed.visit()
    await without.follow()
    await with_.page.evaluate("token => follow({ token: () => token })", sign_token(dev.jwt_secret, renewed.user))
    await with_.is_("live")
    await without.is_("expired", "signed-out")
    await publish(publisher, told)
    await with_.sees(*await publish(publisher, renewed))
    assert await without.seen_ids() == []
    statuses = {each["status"] for each in await with_.value("tab.situations")}
    assert not statuses & {"expired", "stopped"}, "nobody has to notice"


async def test_offline_and_online_again(profile: Profile, publisher: Publisher) -> None:
    tabs = await profile()
    first, second = await tabs.open_several(2)
    await tabs.context.set_offline(True)
    for tab in (first, second):
        await tab.is_("offline")
    missed = await publish(publisher, tabs, 2)
    await tabs.context.set_offline(False)
    for tab in (first, second):
        await tab.is_("live")
        await tab.sees(*missed)


async def test_a_page_from_the_back_forward_cache_goes_on(profile: Profile, publisher: Publisher) -> None:
    tabs = await profile()
    page, other = await tabs.open_several(2)
    assert await page.value("tab.client.sharing") == "leader"
    await page.page.goto(f"{tabs.url}/openapi/edge.json")
    # It lets the other tab lead while it is away.
    missed = await publish(publisher, tabs, 2)
    await other.sees(*missed)
    assert await other.value("tab.client.sharing") == "leader"
    # A page from the cache fires no `load`.
    await page.page.go_back(wait_until="commit")
    await page.is_("live")
    await page.sees(*missed)
    assert await tabs.sharing() == ["follower", "leader"]


async def test_a_server_that_stands_still_is_noticed(profile: Profile, publisher: Publisher, dev: DevPlatform) -> None:
    tabs = await profile()
    first, second = await tabs.open_several(2)
    dev.dev.pause()
    try:
        for tab in (first, second):
            await tab.is_("offline", "silent")
    finally:
        dev.dev.go_on()
    ids = await publish(publisher, tabs)
    for tab in (first, second):
        await tab.is_("live")
        await tab.sees(*ids)


async def test_without_locks_each_tab_has_its_own_connection_and_says_so(
    profile: Profile, publisher: Publisher
) -> None:
    tabs = await profile()
    await tabs.context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    first, second = await tabs.open_several(2)
    await has_connections(tabs, 2)
    assert await tabs.sharing() == ["alone", "alone"]
    assert any("cannot share" in line for line in first.said)
    ids = await publish(publisher, tabs)
    for tab in (first, second):
        await tab.sees(*ids)


async def test_a_leader_that_does_not_answer_is_replaced(profile: Profile, publisher: Publisher) -> None:
    tabs = await profile()
    first, second = await tabs.open_several(2)
    # It sits at a breakpoint, as a tab does that a system has put to sleep with its locks.
    debugger = await tabs.context.new_cdp_session(first.page)
    await debugger.send("Debugger.enable")
    await debugger.send("Debugger.pause")
    stuck = asyncio.create_task(first.page.evaluate("() => 1"), name="stuck")
    await second.page.evaluate("() => { dispatchEvent(new Event('online')) }")
    await second.until("() => tab.client.sharing === 'leader' && tab.client.status === 'live'")
    ids = await publish(publisher, tabs)
    await second.sees(*ids)
    await debugger.send("Debugger.disable")
    await stuck
    await first.sees(*ids)
    assert await tabs.sharing() == ["follower", "leader"]


async def test_a_stream_is_followed_from_its_state_to_its_end(
    profile: Profile, publisher: Publisher, dev: DevPlatform
) -> None:
    tabs = await profile()
    subject = f"job/{tabs.user}"

    async def tell(**data: object) -> None:
        type_ = "job.completed" if data["status"] == "completed" else "job.progressed"
        await publisher.publish(f"user:{tabs.user}", type=type_, subject=subject, data=data)

    early = await tabs.open()
    await early.page.evaluate("subject => void followStream(subject)", subject)
    await early.until("() => tab.updates.length === 1")
    await tell(status="running", progress=10, steps={"build": {"status": "running"}})
    await early.until("() => tab.updates.at(-1).progress === 10")
    late = await tabs.open()
    await late.page.evaluate("subject => void followStream(subject)", subject)
    await late.until("() => tab.updates.length === 1 && tab.updates[0].progress === 10")
    dev.dev.kill()
    await dev.start()
    await tell(status="running", progress=60, steps={"build": {"status": "passed"}, "test": {"status": "running"}})
    await tell(status="completed", progress=100, steps={"test": {"status": "passed"}})
    for tab, seen in ((early, [None, 10, 60, 100]), (late, [10, 60, 100])):
        await tab.until("() => tab.isOver")
        # Having caught up, it may have asked for the state as it was.
        assert [at for at, _ in groupby(await tab.value("tab.updates.map(({ progress }) => progress)"))] == seen
        folded = await tab.value("tab.updates.at(-1)")
        told = await tab.page.evaluate("s => tab.client.request(`/v1/streams/${s}`).then((r) => r.json())", subject)
        of_the_answer = {"cursor", "truncated"}
        assert {name: folded[name] for name in told.keys() - of_the_answer} == {
            name: value for name, value in told.items() if name not in of_the_answer
        }
    await has_connections(tabs, 1)


async def test_the_inbox_is_the_same_in_every_tab(profile: Profile, publisher: Publisher) -> None:
    tabs = await profile()
    first, second = await tabs.open_several(2)
    for number in range(3):
        await publisher.publish(f"user:{tabs.user}", type="notification.sent", data={"title": f"Build {number}"})
    for tab in (first, second):
        await tab.page.evaluate("openInbox")
        await tab.until("() => tab.box.state.items.length === 3")
    assert await first.value("tab.box.state.items.map(({ title }) => title)") == ["Build 2", "Build 1", "Build 0"]
    # It comes without being asked for.
    await publisher.publish(f"user:{tabs.user}", type="notification.sent", data={"title": "Build 3"})
    for tab in (first, second):
        await tab.until("() => tab.box.state.items[0].title === 'Build 3' && tab.box.state.counts.unread === 4")
    # Read in one tab it is read in the other.
    assert await first.value("tab.box.mark('read', [tab.box.state.items[0].id])") is True
    await second.until("() => tab.box.state.items[0].read && tab.box.state.counts.unread === 3")
    # What cannot be done is taken back.
    await tabs.context.set_offline(True)
    assert await first.page.evaluate("markNewest('archive')") == {"atOnce": 3, "isTaken": False}
    assert await first.value("tab.box.state.items.length") == 4
    await tabs.context.set_offline(False)
    assert await second.value("tab.box.mark('read', 'all')") is True
    await first.until("() => tab.box.state.counts.unread === 0 && tab.box.state.items.every(({ read }) => read)")


async def test_hostile_events_come_as_they_were_sent_and_break_nothing(profile: Profile, publisher: Publisher) -> None:
    tabs = await profile()
    leader, follower = await tabs.open_several(2)
    events = [event | {"audience": f"user:{tabs.user}"} for event in hostile_events()]
    sent = [await publisher.publish_event(event | {"id": f"{tabs.user}-{event['id']}"}) for event in events]
    for tab in (leader, follower):
        await tab.sees(*[str(each.attributes["id"]) for each in sent])
        seen = await tab.value("tab.seen.map(({ data }) => data)")
        for found, published in zip(seen, sent, strict=True):
            expected = {name: value for name, value in published.attributes.items() if name != "audience"}
            assert {name: value for name, value in found.items() if name != "traceparent"} == expected
        assert tab.errors == []


async def test_three_tabs_of_two_users_each_see_exactly_their_slice_though_the_server_is_killed_three_times(
    profile: Profile, publisher: Publisher, dev: DevPlatform
) -> None:
    everyone = [await profile(), await profile()]
    tabs: list[Tab] = [tab for each in everyone for tab in await each.open_several(3)]
    audiences = Audiences(2)
    audiences.users = [each.user for each in everyone]
    async with publisher.load(LOAD_PER_S, audiences):
        for _ in range(KILLS):
            before = len(publisher.confirmed)
            await eventually(lambda before=before: len(publisher.confirmed) > before + LOAD_PER_S)
            dev.dev.kill()
            await dev.start()
        await everyone[0].tabs[0].page.close(run_before_unload=False)
    tabs = tabs[1:]
    last = await publisher.publish("everyone", type="harness.last")
    for tab in tabs:
        # By itself, however long its last wait had become.
        await tab.until("id => tab.seen.some(({ data }) => data.id === id)", last.attributes["id"], BACK_WITHIN_MS)
        await tab.note()
        assert tab.errors == []
    log_id, entries = await dev.entries()
    check_promises(log_id, entries, publisher.confirmed, [tab.reading for tab in tabs])
