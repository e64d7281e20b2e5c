"""Three clients that others wrote, each as a function: streams to read -> what each of them dispatched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from playwright.async_api import Browser

from tests.e2e.npm import install

HERE = Path(__file__).parent
READ_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One stream to read."""

    url: str
    types: Sequence[str]
    """What to listen to."""
    last: str | None = None
    """The type of the event to stop after; None reads until the server answers a reconnect with 204."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An event as the client's user got it."""

    type: str
    data: str
    id: str


Read = Callable[[Sequence[Wanted]], Awaitable[list[list[Dispatched]]]]


async def read_with_httpx_sse(wanted: Sequence[Wanted]) -> list[list[Dispatched]]:
    """By `httpx-sse`, which leaves coming back to its user."""
    async with httpx.AsyncClient(timeout=READ_WITHIN_S, trust_env=False) as client:
        return list(await asyncio.gather(*(_read_with_httpx_sse(client, stream) for stream in wanted)))


async def _read_with_httpx_sse(client: httpx.AsyncClient, wanted: Wanted) -> list[Dispatched]:
    seen: list[Dispatched] = []
    headers, retry_s = dict(wanted.headers), 0.0
    while True:
        async with aconnect_sse(client, "GET", wanted.url, headers=headers) as stream:
            if stream.response.status_code == httpx.codes.NO_CONTENT:
                return seen
            stream.response.raise_for_status()
            async for frame in stream.aiter_sse():
                headers["Last-Event-ID"] = frame.id or headers.get("Last-Event-ID", "")
                retry_s = retry_s if frame.retry is None else frame.retry / 1000
                if frame.event in wanted.types and _is_event(frame):
                    seen.append(Dispatched(frame.event, frame.data, frame.id))
                if frame.event == wanted.last:
                    return seen
        await asyncio.sleep(retry_s)


def _is_event(frame: ServerSentEvent) -> bool:
    """It hands on frames without data, too, which the standard keeps from its user; with their id they are of use."""
    return bool(frame.data) or frame.event != "message"


async def read_with_chromium(browser: Browser, page_url: str, wanted: Sequence[Wanted]) -> list[list[Dispatched]]:
    """By Chromium's EventSource, on a page of the streams' own origin; headers become the browser's cookies."""
    page = await browser.new_page()
    try:
        await page.goto(page_url)
        cookies = {cookie for stream in wanted for cookie in [stream.headers.get("Cookie")] if cookie}
        for name, value in (cookie.split("=", 1) for cookie in cookies):
            await page.context.add_cookies([{"name": name, "value": value, "url": page_url}])
        await page.add_script_tag(path=HERE / "collect.js")
        # One after the other: a browser opens six connections to a host.
        expression = "stream => globalThis.collect(EventSource, stream)"
        async with asyncio.timeout(READ_WITHIN_S):
            return [_dispatched(await page.evaluate(expression, asdict(stream))) for stream in wanted]
    finally:
        await page.close()


async def read_with_npm_eventsource(wanted: Sequence[Wanted]) -> list[list[Dispatched]]:
    """By npm's `eventsource` on Node."""
    folder = await asyncio.to_thread(install, HERE, print)
    node = await asyncio.create_subprocess_exec(
        "node", str(folder / "read.mjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            output, _ = await node.communicate(json.dumps([asdict(stream) for stream in wanted]).encode())
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode == 0, "see node's standard error above"
    return [_dispatched(stream) for stream in json.loads(output)]


def _dispatched(events: Sequence[Mapping[str, Any]]) -> list[Dispatched]:
    return [Dispatched(event["type"], event["data"], event["id"]) for event in events]
