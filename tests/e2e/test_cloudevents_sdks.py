"""Events sent by the official SDKs, in every mode that they know, arrive as they were sent."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from shared.model.event import Event
from tests.e2e.cloudevents import (
    MODES,
    Send,
    Sending,
    send_with_former_python,
    send_with_npm,
    send_with_python,
)
from tests.harness.switched import SwitchedBackends, open_switched, served

SDKS: dict[str, Send] = {"pypi": send_with_python, "pypi-v1": send_with_former_python, "npm": send_with_npm}
# Its transport fails before it sends anything: it writes the body, which is undefined.
CANNOT = {("npm", "no-data", "binary")}
PLAIN = {"source": "/shop", "type": "order.created"}
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"

# The sender's event, and what is in the log of it beside its own attributes.
EVENTS: dict[str, tuple[dict[str, str], Any, dict[str, Any]]] = {
    "no-data": ({}, None, {}),
    "json": (
        {"datacontenttype": "application/json"},
        {"total": 12.5, "text": "grüße 🔔", "items": [1, None, {"a": []}]},
        {"data": {"total": 12.5, "text": "grüße 🔔", "items": [1, None, {"a": []}]}},
    ),
    "json by default": ({}, {"a": 1}, {"data": {"a": 1}}),
    "problem-json": ({"datacontenttype": "application/problem+json"}, {"title": "x"}, {"data": {"title": "x"}}),
    "text": ({"datacontenttype": "text/plain"}, "two\nlines, grüße 🔔", {"data": "two\nlines, grüße 🔔"}),
    "xml": ({"datacontenttype": "application/xml"}, "<a>&amp;ü</a>", {"data": "<a>&amp;ü</a>"}),
    "bytes": (
        {"datacontenttype": "image/png"},
        PNG,
        {"data_base64": base64.b64encode(PNG).decode()},
    ),
    "attributes": (
        {
            "datacontenttype": "application/json",
            "subject": "order/7",
            "time": "2026-01-31T12:00:00.123000+00:00",
            "dataschema": "https://example.com/order.json",
            "audience": "user:alice topic:orders",
            "custom": '100% "quoted"',
            "final": "true",
        },
        {"a": 1},
        {"data": {"a": 1}, "time": "2026-01-31T12:00:00.123Z"},
    ),
}


@pytest.fixture
async def backends() -> AsyncIterator[SwitchedBackends]:
    async with open_switched() as opened:
        yield opened


@pytest.mark.parametrize("sdk", SDKS)
async def test_events_arrive_as_they_were_sent(backends: SwitchedBackends, sdk: str) -> None:
    sendings = {
        f"{name} {mode}": Sending(mode, PLAIN | {"id": f"{name} {mode}"} | given, data)
        for name, (given, data, _) in EVENTS.items()
        for mode in MODES
        if (sdk, name, mode) not in CANNOT
    }
    async with served(backends.app()) as url:
        answers = await SDKS[sdk](f"{url}/v1/events", "key", list(sendings.values()))
    assert [answer.get("accepted", answer) for answer in answers] == [
        [{"source": "/shop", "id": id_, "duplicate": False}] for id_ in sendings
    ]
    for event, (id_, sending) in zip(backends.published, sendings.items(), strict=True):
        added = EVENTS[id_.rsplit(" ", 1)[0]][2]
        assert shown(event, sending) == {"specversion": "1.0", **sending.attributes, **added}, id_


def shown(event: Event, sending: Sending) -> dict[str, Any]:
    """The event without what SDKs and ingest add to it by themselves: times, media types, trace contexts."""
    attributes: dict[str, Any] = json.loads(event.to_json())
    for added in {"time", "datacontenttype", "traceparent", "tracestate"} - sending.attributes.keys():
        attributes.pop(added, None)
    if "time" in attributes:
        moment = datetime.fromisoformat(attributes["time"])
        attributes["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return attributes


async def test_whichever_sdk_sends_it_in_whichever_mode_it_is_the_same_event(backends: SwitchedBackends) -> None:
    async with served(backends.app()) as url:
        for sdk, send in SDKS.items():
            sendings = [
                Sending(mode, PLAIN | {"id": name} | given, data)
                for name, (given, data, _) in EVENTS.items()
                for mode in MODES
                if (sdk, name, mode) not in CANNOT
            ]
            answers = await send(f"{url}/v1/events", "key", sendings)
            assert all("accepted" in answer for answer in answers), answers
    assert [event.id for event in backends.published] == list(EVENTS)


@pytest.mark.parametrize("sdk", SDKS)
async def test_a_refusal_reaches_the_sender(backends: SwitchedBackends, sdk: str) -> None:
    async with served(backends.app()) as url:
        sendings = [Sending(mode, PLAIN | {"id": "1", "audience": "nobody"}, {"a": 1}) for mode in MODES]
        answers = await SDKS[sdk](f"{url}/v1/events", "key", sendings)
    assert [(answer["status"], answer["field"]) for answer in answers] == [(400, "audience")] * 2
