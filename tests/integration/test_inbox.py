"""The inbox and subscriptions over HTTP, on both sets of adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from httpx_sse import aconnect_sse

from services.edge.tokens import sign_token
from tests.eventually import WITHIN_S, answered, eventually
from tests.harness.platform import Platform
from tests.harness.shared import BOTH_ADAPTERS, shared_platform
from tests.harness.visitor import available

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=BOTH_ADAPTERS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with shared_platform(request, tmp_path_factory) as ready:
        yield ready


class Person:
    """A user at one of the edges."""

    def __init__(self, platform: Platform, name: str, grants: tuple[str, ...] = ("topic:builds/*",)) -> None:
        token = sign_token(platform.jwt_secret, name, list(grants), 600)
        self.name, self._platform = name, platform
        self.client = httpx.AsyncClient(
            base_url=platform.edge_urls[0], headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; once more where what it changed was not folded within the time that a service waits."""
        return await available(lambda: self.client.request(method, path, **options))

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = await self.ask("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def mark(self, mark: str, **body: Any) -> Any:
        answer = await self.ask("POST", f"/v1/inbox/{mark}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def notified(self, count: int, **parameters: Any) -> Any:
        """The page once it holds so many items."""

        async def look() -> Any:
            page = await self.get("/v1/inbox", **parameters)
            assert len(page["items"]) == count
            return page

        return await answered(look, AssertionError)

    async def counts(self) -> tuple[int, int]:
        counts = await self.get("/v1/inbox/counts")
        return counts["unread"], counts["unseen"]


Meets = Callable[..., Person]


@pytest_asyncio.fixture(loop_scope="module")
async def meet(platform: Platform) -> AsyncIterator[Meets]:
    """Makes people, who leave at the end of the test."""
    async with AsyncExitStack() as leaving:

        def make(name: str) -> Person:
            person = Person(platform, name)
            leaving.push_async_callback(person.client.aclose)
            return person

        yield make


async def notify(platform: Platform, audience: str, title: str, **data: Any) -> None:
    async with platform.publisher() as publisher:
        await publisher.publish(audience, type="notification.sent", data={"title": title, **data})


async def test_a_notification_is_listed_counted_and_marked(platform: Platform, meet: Meets) -> None:
    ann = meet("inbox-ann")
    await notify(platform, "user:inbox-ann", "Build failed", body="step 3", link="/builds/3", level="error")
    page = await ann.notified(1, level="error")
    (item,) = page["items"]
    expected = {"title": "Build failed", "body": "step 3", "link": "/builds/3", "level": "error", "read": False}
    assert {name: item[name] for name in expected} == expected
    before = await ann.counts()
    assert before[0] >= 1

    marked = await ann.mark("read", ids=[item["id"]])
    assert marked["counts"]["unread"] == before[0] - 1
    assert (await ann.notified(1, level="error"))["items"][0]["read"] is True
    assert (await ann.get("/v1/inbox", level="error", unread=1))["items"] == []
    assert (await ann.mark("unread", ids=[item["id"]]))["counts"]["unread"] == before[0]
    await ann.mark("archive", ids=[item["id"]])
    assert (await ann.get("/v1/inbox", level="error"))["items"] == []
    assert [each["id"] for each in (await ann.get("/v1/inbox", archived=1))["items"]] == [item["id"]]
    await ann.mark("unarchive", ids=[item["id"]])
    assert len((await ann.get("/v1/inbox", level="error"))["items"]) == 1


async def test_pages_follow_each_other_and_a_late_one_is_not_swallowed(platform: Platform, meet: Meets) -> None:
    ben = meet("inbox-ben")
    for number in range(5):
        await notify(platform, "user:inbox-ben", f"number {number}")
    await ben.notified(5, limit=5)
    first = await ben.get("/v1/inbox", limit=2)
    second = await ben.get("/v1/inbox", limit=2, cursor=first["next"])
    third = await ben.get("/v1/inbox", limit=2, cursor=second["next"])
    titles = [item["title"] for page in (first, second, third) for item in page["items"]]
    assert [title for title in titles if title.startswith("number")] == [
        f"number {number}" for number in (4, 3, 2, 1, 0)
    ]
    everything = await ben.get("/v1/inbox")
    await notify(platform, "user:inbox-ben", "late")
    await ben.notified(len(everything["items"]) + 1)
    counts = (await ben.mark("read", through=everything["cursor"]))["counts"]
    assert (counts["unread"], counts["unseen"]) == (1, 1)


async def test_a_topic_is_heard_from_when_it_is_followed(platform: Platform, meet: Meets) -> None:
    cleo = meet("inbox-cleo")
    await notify(platform, "topic:builds/cleo", "before")
    followed = await cleo.ask("PUT", "/v1/subscriptions/builds/cleo")
    assert followed.status_code == 200, followed.text
    assert [each["topic"] for each in followed.json()["items"]] == ["builds/cleo"]
    await notify(platform, "topic:builds/cleo", "after")
    page = await cleo.notified(1, topic="builds/cleo")
    assert page["items"][0]["title"] == "after"

    muted = await cleo.ask("PUT", "/v1/subscriptions/builds/cleo/mute", json={"until": "2999-01-01T00:00:00Z"})
    (topic,) = muted.json()["items"]
    assert (topic["muted"], topic["muted_until"]) == (True, "2999-01-01T00:00:00.000Z")
    assert (await cleo.get("/v1/inbox", topic="builds/cleo"))["items"] == []
    await cleo.ask("DELETE", "/v1/subscriptions/builds/cleo/mute")
    assert len((await cleo.get("/v1/inbox", topic="builds/cleo"))["items"]) == 1
    unfollowed = await cleo.ask("DELETE", "/v1/subscriptions/builds/cleo")
    assert unfollowed.json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("GET", "/v1/inbox?limit=0", None, 400, "limit"),
        ("GET", "/v1/inbox?limit=101", None, 400, "limit"),
        ("GET", "/v1/inbox?unread=yes", None, 400, "unread"),
        ("GET", "/v1/inbox?level=loud", None, 400, "level"),
        ("GET", "/v1/inbox?since=soon", None, 400, "since"),
        ("GET", "/v1/inbox?cursor=x", None, 400, "cursor"),
        ("GET", "/v1/inbox?cursor=otherlog.1", None, 400, "cursor"),
        ("GET", "/v1/inbox?colour=red", None, 400, "colour"),
        ("POST", "/v1/inbox/burn", {}, 404, None),
        ("POST", "/v1/inbox/read", {}, 400, "body"),
        ("POST", "/v1/inbox/read", {"ids": [], "through": "x"}, 400, "body"),
        ("POST", "/v1/inbox/read", {"ids": []}, 400, "ids"),
        ("POST", "/v1/inbox/read", {"ids": [7]}, 400, "ids"),
        ("POST", "/v1/inbox/read", {"ids": ["99999999"]}, 404, "ids"),
        ("POST", "/v1/inbox/read", {"through": "otherlog.1"}, 400, "through"),
        ("PUT", "/v1/subscriptions/salaries", None, 403, "topic"),
        ("PUT", "/v1/subscriptions/salaries/mute", {}, 403, "topic"),
        ("PUT", "/v1/subscriptions/builds/x/mute", {"until": "2001-01-01T00:00:00Z"}, 400, "until"),
        ("PUT", "/v1/subscriptions/a%20b", None, 400, "audience"),
    ],
)
async def test_bad_input_is_named(
    meet: Meets, method: str, path: str, body: Any, status: int, field: str | None
) -> None:
    dan = meet("inbox-dan")
    answer = await dan.ask(method, path, json=body)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text


async def test_marks_beyond_the_head_and_foreign_items_are_refused(platform: Platform, meet: Meets) -> None:
    eve, fay = meet("inbox-eve"), meet("inbox-fay")
    await notify(platform, "user:inbox-fay", "private")
    (item,) = [each for each in (await fay.notified(1, since="2026-01-01T00:00:00Z", limit=1))["items"]]
    assert (await eve.ask("POST", "/v1/inbox/read", json={"ids": [item["id"]]})).status_code == 404
    log_id = (await eve.get("/v1/inbox"))["cursor"].split(".")[0]
    beyond = await eve.ask("POST", "/v1/inbox/read", json={"through": f"{log_id}.999999999"})
    assert (beyond.status_code, beyond.json()["field"]) == (400, "through")


async def test_nobody_reads_without_a_session(platform: Platform) -> None:
    async with httpx.AsyncClient(base_url=platform.edge_urls[0], timeout=WITHIN_S, trust_env=False) as stranger:
        for path in ("/v1/inbox", "/v1/inbox/counts", "/v1/subscriptions"):
            assert (await stranger.get(path)).status_code == 401
        assert (await stranger.post("/v1/inbox/read", json={"ids": ["1"]})).status_code == 401


async def test_devices_that_act_at_once_converge(platform: Platform, meet: Meets) -> None:
    """Three devices at different edges mark the same items in different ways; in the end all see one state."""
    devices = [meet("inbox-gus") for _ in range(3)]
    for number, device in enumerate(devices):
        device.client.base_url = httpx.URL(platform.edge_urls[number % len(platform.edge_urls)])
    for number in range(6):
        await notify(platform, "user:inbox-gus", f"number {number}")
    items = [each["id"] for each in (await devices[0].notified(6, limit=6))["items"]]
    await asyncio.gather(
        devices[0].mark("read", ids=items[:3]),
        devices[1].mark("read", ids=items[2:5]),
        devices[2].mark("archive", ids=items[:1]),
        devices[1].mark("seen", ids=items),
    )

    async def look() -> None:
        pages = [await device.get("/v1/inbox", limit=5) for device in devices]
        shown = [[(each["id"], each["read"], each["seen"]) for each in page["items"]] for page in pages]
        assert shown[0] == shown[1] == shown[2]
        assert shown[0] == [(id_, id_ in items[:5], True) for id_ in items[1:]]

    await answered(look, AssertionError)


class Following:
    """What one stream has brought so far."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.counts: list[dict[str, Any]] = []
        self.opened = asyncio.Event()

    async def run(self, client: httpx.AsyncClient, edge: str, cursor: str | None) -> None:
        parameters = {} if cursor is None else {"last-event-id": cursor}
        async with aconnect_sse(client, "GET", f"{edge}/v1/events", params=parameters, timeout=None) as stream:
            async for frame in stream.aiter_sse():
                if frame.event == "connected":
                    self.opened.set()
                elif frame.event == "inbox.changed":
                    self.counts.append(frame.json()["counts"])
                elif "specversion" in frame.data:
                    self.events.append(frame.json() | {"cursor": frame.id})

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


@asynccontextmanager
async def following(person: Person, edge: str, cursor: str | None = None) -> AsyncIterator[Following]:
    stream = Following()
    task = asyncio.create_task(stream.run(person.client, edge, cursor))
    try:
        async with asyncio.timeout(WITHIN_S):
            await stream.opened.wait()
        yield stream
        assert not task.done(), "the stream has ended"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_every_stream_of_the_user_is_told_the_counts(platform: Platform, meet: Meets) -> None:
    hal, other = meet("inbox-hal"), meet("inbox-iris")
    await hal.get("/v1/inbox")
    async with AsyncExitStack() as streams:
        mine = [await streams.enter_async_context(following(hal, edge)) for edge in platform.edge_urls]
        theirs = await streams.enter_async_context(following(other, platform.edge_urls[0]))
        before = (await hal.counts())[0]
        await notify(platform, "user:inbox-hal", "news")
        await eventually(lambda: all(s.counts and s.counts[-1]["unread"] == before + 1 for s in mine))
        (item, *_) = (await hal.get("/v1/inbox", limit=1))["items"]
        await hal.mark("read", ids=[item["id"]])
        await eventually(lambda: all(s.counts[-1]["unread"] == before for s in mine))
        assert theirs.counts == []


async def test_a_topic_that_is_followed_comes_at_once_on_every_open_stream(platform: Platform, meet: Meets) -> None:
    """While events of the topic are being published: none after the following is missed, and none comes twice."""
    jo = meet("inbox-jo")
    published: list[str] = []

    async def publish(publisher: Any, count: int) -> None:
        for _ in range(count):
            published.append((await publisher.publish("topic:builds/jo", type="build.done")).attributes["id"])

    async with AsyncExitStack() as streams:
        mine = [await streams.enter_async_context(following(jo, edge)) for edge in platform.edge_urls]
        publisher = await streams.enter_async_context(platform.publisher())
        await publish(publisher, 3)
        publishing = asyncio.create_task(publish(publisher, 30))
        assert (await jo.ask("PUT", "/v1/subscriptions/builds/jo")).status_code == 200
        followed = set(published)
        await publishing
        await eventually(lambda: all(published[-1] in s.ids for s in mine))
        for stream in mine:
            got = [id_ for id_ in stream.ids if id_ in published]
            assert got == published[published.index(got[0]) :], "from the following on, all of them, each once"
            assert not set(published[:3]) & set(got), "nothing from before"
            assert set(published) - followed <= set(got)
        assert (await jo.ask("DELETE", "/v1/subscriptions/builds/jo")).status_code == 200
        await publish(publisher, 1)
        last = await publisher.publish("user:inbox-jo", type="order.created")
        await eventually(lambda: all(last.attributes["id"] in s.ids for s in mine))
        assert all(published[-1] not in s.ids for s in mine)


async def test_page_and_stream_join_without_gap_or_repeat(platform: Platform, meet: Meets) -> None:
    kim = meet("inbox-kim")
    titles = [f"number {number}" for number in range(40)]

    async def write() -> None:
        async with platform.publisher() as publisher:
            for title in titles:
                await publisher.publish("user:inbox-kim", type="notification.sent", data={"title": title})

    writing = asyncio.create_task(write())
    await eventually_some_items(kim)
    page = await kim.get("/v1/inbox", limit=100)
    async with following(kim, platform.edge_urls[-1], page["cursor"]) as stream:
        await writing
        await eventually(lambda: stream.events and stream.events[-1]["data"]["title"] == titles[-1])
    listed = [item["title"] for item in reversed(page["items"])]
    streamed = [event["data"]["title"] for event in stream.events if event["type"] == "notification.sent"]
    assert [title for title in listed + streamed if title in titles] == titles


async def eventually_some_items(person: Person) -> None:
    async def look() -> None:
        assert len((await person.get("/v1/inbox"))["items"]) > 3

    await answered(look, AssertionError)
