"""What the edge writes, as three clients read it that others wrote: equal in all, and equal to what was published."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from services.edge.tokens import sign_token
from tests.e2e.clients import (
    Dispatched,
    Read,
    Wanted,
    read_with_chromium,
    read_with_httpx_sse,
    read_with_npm_eventsource,
)
from tests.e2e.stream_server import StreamServer, stream_server
from tests.golden.frames import STREAMS, Seen
from tests.harness.checker import Confirmed
from tests.harness.platform import DevPlatform
from tests.harness.publisher import STRUCTURED, new_event

pytestmark = pytest.mark.browser

CLIENTS = ("chromium", "httpx-sse", "npm-eventsource")
# 0: in one piece. 1: cut inside every character and line end. The long line is cut into ten thousand pieces.
CUTS = (0, 1)
LONG_CUT = 101
# Events with little in common but that somebody will send them.
HOSTILE_TEXTS = {
    "multi-line": "one\ntwo\n\n: three\ndata: four\n\n",
    "cr": "one\rtwo\r\r",
    "crlf": "one\r\ntwo\r\n\r\n",
    "nul": "a\x00b\x00",
    "bom": "\ufeffmark\ufeff",
    "four-byte": "🔔\U0010ffff\U0001d11e",
    "separators": "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg",
    "fields": "id: 1\nevent: closing\nretry: 1\n:\n\n",
    "edges": "  two before, two after  ",
    "html": "</script><!--\\u0000 \\ud800 \" ' \\",
    "long": "x🔔" * 48_000,
    "empty": "",
}
HOSTILE_TYPES = ("order.created", "order: created", " led by a space", "\ufefforder", "bell.🔔", "line\u2028end\x85")
BARE_DATA: tuple[Any, ...] = ("a\r\nb", None, [], 0)
LAST = "harness.last"
_BEFORE = b'{"specversion":"1.0","source":"/s",'
UNREADABLE = (
    _BEFORE + rb'"id":"1","type":"t","data":"\ud800"}',
    _BEFORE + rb'"id":"1","type":"t","data":{"\udc00\ud800":1}}',
    _BEFORE + rb'"id":"1","type":"t\udfff"}',
    _BEFORE + b'"id":"1","type":"t","data":"\xed\xa0\x80"}',
    _BEFORE + rb'"id":"1","type":"t\u0000"}',
    _BEFORE + rb'"id":"1\n","type":"t"}',
    _BEFORE + rb'"id":"1","type":"a\r\ndata: b"}',
)


@pytest.fixture
async def server() -> AsyncIterator[StreamServer]:
    async with stream_server() as serves:
        yield serves


@pytest.fixture
async def dev(tmp_path: Path) -> AsyncIterator[DevPlatform]:
    async with DevPlatform(tmp_path) as platform:
        yield await platform.start()


def reading(client: str, browser: Browser, page_url: str) -> Read:
    """The client as a function."""
    if client == "chromium":
        return partial(read_with_chromium, browser, page_url)
    return read_with_httpx_sse if client == "httpx-sse" else read_with_npm_eventsource


def as_dispatched(seen: Sequence[Seen], client: str) -> list[Dispatched]:
    """An event without an id carries the one before it, but in npm's `eventsource` none."""
    dispatched: list[Dispatched] = []
    for event in seen:
        inherited = dispatched[-1].id if dispatched and client != "npm-eventsource" else ""
        dispatched.append(Dispatched(event.type, event.data, inherited if event.id is None else event.id))
    return dispatched


@pytest.mark.parametrize("client", CLIENTS)
async def test_golden_streams_are_read_as_meant(client: str, browser: Browser, server: StreamServer) -> None:
    paths = {
        f"{(LONG_CUT if name == 'long-line' else 1) * cut}/{name}?{client}": stream
        for name, stream in STREAMS.items()
        for cut in CUTS
    }
    wanted = [Wanted(server.url + path, stream.types) for path, stream in paths.items()]
    found = await reading(client, browser, server.url)(wanted)
    for (path, stream), dispatched in zip(paths.items(), found, strict=True):
        assert dispatched == as_dispatched(stream.seen, client), path
        assert server.came_back_with[f"/{path}"] == last_id_kept(path, client), path


def last_id_kept(path: str, client: str) -> str:
    """Where a client resumes; npm's `eventsource` does not note the id of a frame without data."""
    stream = STREAMS[path.partition("/")[2].partition("?")[0]]
    if client == "npm-eventsource":
        return next(event.id for event in reversed(stream.seen) if event.id)
    return stream.last_id


def hostile_events() -> list[dict[str, Any]]:
    """One for each text and one for each type, in a fixed order."""
    texts = [
        new_event("user:alice", id=name, data={"text": text, text[:200]: 1}) for name, text in HOSTILE_TEXTS.items()
    ]
    types = [new_event("user:alice", id=f"type-{at}", type=type_) for at, type_ in enumerate(HOSTILE_TYPES)]
    bare = [new_event("user:alice", id=f"bare-{at}", data=data) for at, data in enumerate(BARE_DATA)]
    return [*texts, *types, *bare]


async def start_of_stream(url: str, cookie: str) -> str:
    """The cursor to read the test's events after."""
    [[connected]] = await read_with_httpx_sse(
        [Wanted(f"{url}/v1/events", ["connected"], "connected", headers={"Cookie": cookie})]
    )
    return connected.id


async def signed_in(url: str, jwt_secret: str) -> str:
    """Alice's cookie."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        authorization = {"Authorization": f"Bearer {sign_token(jwt_secret, 'alice')}"}
        answer = await client.post("/v1/session", headers=authorization)
    return str(answer.headers["set-cookie"].split(";", 1)[0])


async def test_hostile_events_come_out_of_all_clients_as_they_were_published(
    browser: Browser, dev: DevPlatform
) -> None:
    events, url = hostile_events(), dev.ingest_url
    cookie = await signed_in(url, dev.jwt_secret)
    start = await start_of_stream(url, cookie)
    async with dev.publisher() as publisher:
        sent = [await publisher.publish_event(event) for event in events]
        await publisher.publish("everyone", type=LAST)
    types = [*dict.fromkeys(event["type"] for event in events), LAST]
    wanted = Wanted(f"{url}/v1/events?last-event-id={start}", types, LAST, {"Cookie": cookie})
    found = {client: (await reading(client, browser, f"{url}/healthz")([wanted]))[0] for client in CLIENTS}

    assert found["chromium"] == found["httpx-sse"] == found["npm-eventsource"]
    *dispatched, last = found["chromium"]
    assert last.type == LAST
    for one, published in zip(dispatched, sent, strict=True):
        assert_is(one, published)


def assert_is(dispatched: Dispatched, published: Confirmed) -> None:
    """What came out is what went in, but for the audience, and with its trace."""
    attributes = json.loads(dispatched.data)
    assert attributes.pop("traceparent").startswith(f"00-{published.trace_id}-")
    assert attributes == {name: value for name, value in published.attributes.items() if name != "audience"}
    assert dispatched.type == published.attributes["type"]


async def test_what_no_client_could_read_back_is_refused_at_the_boundary(dev: DevPlatform) -> None:
    """Lone surrogates are no text, and line ends in a type would be fields of somebody else's making."""
    headers = {"Authorization": "Bearer dev", "Content-Type": STRUCTURED}
    async with httpx.AsyncClient(base_url=dev.ingest_url, headers=headers, timeout=60) as client:
        answers = {body: await client.post("/v1/events", content=body) for body in UNREADABLE}
    assert {body: answer.status_code for body, answer in answers.items()} == dict.fromkeys(UNREADABLE, 400)
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}
