"""Three clients that others wrote, each as a function: streams to read -> what each of them dispatched."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from playwright.async_api import Browser

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build" / "clients"
INSTALL_WITHIN_S, READ_WITHIN_S = 90.0, 30.0


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
    await _install()
    node = await asyncio.create_subprocess_exec(
        "node", str(BUILD / "read.mjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
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


async def _install() -> None:
    """Puts the pinned packages and our scripts into build/, which is not committed."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "read.mjs", "collect.js"):
        shutil.copy(HERE / name, BUILD / name)
    if _is_installed():
        return
    command = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    npm = await asyncio.create_subprocess_exec(*command, cwd=BUILD, env={**os.environ, "NO_UPDATE_NOTIFIER": "1"})
    async with asyncio.timeout(INSTALL_WITHIN_S):
        assert await npm.wait() == 0, "npm could not install; see its standard error above"


def _is_installed() -> bool:
    pinned = json.loads((HERE / "package.json").read_text())["dependencies"]
    found = {name: BUILD / "node_modules" / name / "package.json" for name in pinned}
    return all(
        path.exists() and json.loads(path.read_text())["version"] == pinned[name] for name, path in found.items()
    )


def _dispatched(events: Sequence[Mapping[str, Any]]) -> list[Dispatched]:
    return [Dispatched(event["type"], event["data"], event["id"]) for event in events]
