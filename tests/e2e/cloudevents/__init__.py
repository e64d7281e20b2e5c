"""The official CloudEvents SDKs as functions: an event to send in a mode -> what was answered."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion as former
from cloudevents.v1.http import CloudEvent as FormerCloudEvent

from tests.e2e.npm import install

HERE = Path(__file__).parent
SENT_WITHIN_S = 120.0
MODES = ("binary", "structured")


@dataclass(frozen=True, slots=True)
class Sending:
    """An event as its sender has it."""

    mode: str
    attributes: Mapping[str, str]
    data: Any = None

    @property
    def moments(self) -> dict[str, Any]:
        """The attributes, with times as Python's users have them."""
        time = self.attributes.get("time")
        return dict(self.attributes) | ({} if time is None else {"time": datetime.fromisoformat(time)})


Send = Callable[[str, str, Sequence[Sending]], Awaitable[list[Any]]]


async def send_with_python(url: str, key: str, sendings: Sequence[Sending]) -> list[Any]:
    """By PyPI's `cloudevents`."""
    return [await _posted(url, key, *_with_python(sending)) for sending in sendings]


def _with_python(sending: Sending) -> tuple[Mapping[str, str], bytes]:
    event = CloudEvent(sending.moments, sending.data)
    message = (to_binary if sending.mode == "binary" else to_structured)(event, JSONFormat())
    return message.headers, message.body


async def send_with_former_python(url: str, key: str, sendings: Sequence[Sending]) -> list[Any]:
    """By its interface of version 1, which most of its users still have."""
    return [await _posted(url, key, *_with_former_python(sending)) for sending in sendings]


def _with_former_python(sending: Sending) -> tuple[Mapping[str, str], bytes]:
    event = FormerCloudEvent(dict(sending.attributes), sending.data)
    if sending.mode == "structured":
        return former.to_structured(event)
    # By itself it makes JSON of any text.
    return former.to_binary(event, data_marshaller=str.encode if isinstance(sending.data, str) else None)


async def _posted(url: str, key: str, headers: Mapping[str, str], body: bytes) -> Any:
    async with httpx.AsyncClient(timeout=SENT_WITHIN_S, trust_env=False) as client:
        answer = await client.post(url, headers={**headers, "Authorization": f"Bearer {key}"}, content=body)
    return answer.json()


async def send_with_npm(url: str, key: str, sendings: Sequence[Sending]) -> list[Any]:
    """By npm's `cloudevents`, with its own transport."""
    folder = await asyncio.to_thread(install, HERE, print)
    asked = [_asked(url, key, sending) for sending in sendings]
    node = await asyncio.create_subprocess_exec(
        "node", str(folder / "send.mjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SENT_WITHIN_S):
            output, _ = await node.communicate(json.dumps(asked).encode())
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode == 0, "see node's standard error above"
    answers: list[Any] = json.loads(output)
    return answers


def _asked(url: str, key: str, sending: Sending) -> dict[str, Any]:
    is_bytes = isinstance(sending.data, bytes)
    return {
        "url": url,
        "key": key,
        "mode": sending.mode,
        "attributes": dict(sending.attributes),
        "data": None if is_bytes else sending.data,
        "bytes": base64.b64encode(sending.data).decode() if is_bytes else None,
    }
