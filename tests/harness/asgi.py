"""Requests straight into an app, as bytes: no client in between that would put them right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from quart import Quart

from shared.web.problem import CONTENT_TYPE

ANSWERED_WITHIN_S = 60.0
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What came back; of an endless stream its first write."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name; the last of several."""
    body: bytes = b""

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document. Fails where there is none, or none of this answer."""
        assert self.headers.get("content-type") == CONTENT_TYPE, self
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status, self
        assert document["title"], self
        return document


async def ask(app: Quart, method: str, target: bytes, headers: Headers = (), body: bytes = b"") -> Answer:
    """One request. A stream is left after its first write, and the call returns once the app has noticed."""
    answer, left = Answer(), asyncio.Event()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        if (message := next(messages, None)) is not None:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode("latin-1").lower(): value.decode() for name, value in message["headers"]}
            return
        answer.body += message.get("body", b"")
        if answer.is_stream and answer.body:
            left.set()

    async with asyncio.timeout(ANSWERED_WITHIN_S):
        await app(_scope(method, target, headers), receive, send)
    return answer


def _scope(method: str, target: bytes, headers: Headers) -> Any:
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"edge.test"), *headers],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 443),
        "state": {},
        "extensions": {},
    }
