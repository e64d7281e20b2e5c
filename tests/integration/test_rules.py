"""Rules and the catalogue in ingest itself: from a request to the log, while rule files change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from tests.eventually import answered
from tests.harness.asgi import Answer
from tests.harness.moved import moved
from tests.harness.own_ingest import OwnIngest, own_ingest

STRUCTURED = [(b"content-type", b"application/cloudevents+json")]


def rules(*recipients: str, title: str) -> str:
    return f"""
rules:
  - name: order
    match: {{type: order.*}}
    audience: {json.dumps(recipients)}
    notify: {{title: "{title}"}}
"""


class File:
    """The rule file of an ingest that is running."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def says(self, *recipients: str, title: str = "Order {{ data.number }}") -> None:
        self.path.write_text(rules(*recipients, title=title))


@pytest.fixture
def file(tmp_path: Path) -> File:
    found = File(tmp_path / "rules.yaml")
    found.says("user:alice")
    return found


@pytest.fixture
async def ingest(file: File, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OwnIngest]:
    monkeypatch.setattr("services.ingest.reloading.LOOK_EVERY_S", 0.01)
    async with own_ingest({"rules": str(file.path)}) as own:
        yield own


def order(number: int, **attributes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"order-{number}",
        "source": "/shop",
        "type": "order.created",
        "data": {"number": number},
        **attributes,
    }


async def publish(ingest: OwnIngest, event: dict[str, Any]) -> Answer:
    return await ingest.ask("POST", b"/v1/events", json.dumps(event).encode(), STRUCTURED)


async def readiness(ingest: OwnIngest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await ingest.ask("GET", b"/readyz")).body)
    return found


async def test_an_event_is_for_whom_rules_name_and_its_notification_comes_after_it(ingest: OwnIngest) -> None:
    answer = await publish(ingest, order(7, audience="user:bob"))
    assert answer.status == 202
    first, second = await ingest.entries(2)
    assert (first.type, first.audience) == ("order.created", ("user:bob", "user:alice"))
    assert (second.type, second.source, second.audience) == (
        "notification.sent",
        "/carillon/rules/order",
        ("user:alice",),
    )
    assert json.loads(second.event)["data"] == {
        "title": "Order 7",
        "about": {"source": "/shop", "id": "order-7", "type": "order.created"},
    }
    traces = {str(entry.traceparent).split("-")[1] for entry in (first, second)}
    assert traces == {json.loads(answer.body)["traceparent"].split("-")[1]}


async def test_a_repeat_makes_nothing_twice(ingest: OwnIngest) -> None:
    for is_repeat in (False, True, True):
        answer = await publish(ingest, order(7))
        assert json.loads(answer.body)["accepted"][0]["duplicate"] is is_repeat
    await ingest.entries(2)


async def test_rules_change_while_events_come(ingest: OwnIngest, file: File) -> None:
    await publish(ingest, order(1))
    file.says("user:carol", "topic:orders", title="Changed")
    await eventually_routed(ingest, "user:carol")
    await publish(ingest, order(2))
    entries = await ingest.entries(4)
    assert entries[2].audience == ("user:carol", "topic:orders")
    assert json.loads(entries[3].event)["data"]["title"] == "Changed"


async def test_a_repeat_after_the_rules_have_changed_is_a_repeat(ingest: OwnIngest, file: File) -> None:
    """It was refused as another event: the new rules name recipients whom the first one did not reach."""
    await publish(ingest, order(1, audience="user:bob"))
    file.says("user:carol", "topic:orders", title="Changed")
    await eventually_routed(ingest, "user:carol")
    answer = await publish(ingest, order(1, audience="user:bob"))
    assert (answer.status, json.loads(answer.body)["accepted"][0]["duplicate"]) == (202, True)
    await ingest.entries(2)
    others = await publish(ingest, order(1, audience="user:eve"))
    assert others.status == 409


async def test_bad_rules_leave_the_old_ones_and_readiness_says_where(ingest: OwnIngest, file: File) -> None:
    assert (await readiness(ingest))["checks"]["rules"] == "ok"
    file.says("user:a b")

    async def is_told() -> None:
        found = await readiness(ingest)
        assert found["status"] == "degraded"
        assert "rules.yaml:5" in found["checks"]["rules"]

    await answered(is_told, AssertionError)
    assert (await publish(ingest, order(1))).status == 202
    assert (await ingest.entries(2))[0].audience == ("user:alice",)
    file.says("user:alice")

    async def is_well() -> None:
        assert (await readiness(ingest))["status"] == "ok"

    await answered(is_well, AssertionError)


async def test_a_dry_run_publishes_nothing(ingest: OwnIngest) -> None:
    found = await dry_run(ingest)
    assert found["audience"] == [{"tag": "user:alice", "because": ["rule order: user:alice"]}]
    assert found["notifications"][0]["data"]["title"] == "Order 9"
    await publish(ingest, order(1))
    await ingest.entries(2)


async def test_the_catalogue_refuses_what_breaks_it_and_says_where(ingest: OwnIngest) -> None:
    bad = order(1, type="job.progressed", data={"status": "running", "progress": "secret"})
    answer = await publish(ingest, bad)
    problem = json.loads(answer.body)
    assert (answer.status, problem["field"]) == (400, "data/progress")
    assert b"secret" not in answer.body
    schema = await ingest.ask("GET", problem["fix"].rpartition(" ")[2].encode())
    assert (schema.status, json.loads(schema.body)["title"]) == (200, "Job progress")
    await ingest.entries(0)


async def test_what_goes_wrong_is_counted(ingest: OwnIngest, file: File) -> None:
    file.says("user:{{ data.a }}", "user:bob")
    await eventually_routed(ingest, "user:bob")
    by_the_persister = {"batch_events_count": ANY, "append_seconds_count": ANY, "dispatch_seconds_count": 2}
    by_rules = {"rules_notifications": 1, "rules_troubles": 1, "rules_refused_tags": 1}
    async with moved(events_accepted=2, events_persisted=2, events_dispatched=2, **by_rules, **by_the_persister):
        await publish(ingest, order(1))
        await ingest.entries(2)
    async with moved(events_refused__invalid_event=1, refusals__ingest__invalid_event=1, catalogue_breaches__enforce=1):
        await publish(ingest, order(2, type="data.changed"))


async def test_the_catalogue_is_shown(ingest: OwnIngest) -> None:
    page = await ingest.ask("GET", b"/catalogue")
    assert page.status == 200
    assert b"<h2>notification.sent</h2>" in page.body
    shared = await ingest.ask("GET", b"/catalogue/carillon/steps.json")
    assert shared.status == 200
    asyncapi = json.loads((await ingest.ask("GET", b"/asyncapi.json")).body)
    assert asyncapi["channels"]["events"]["address"] == "carillon.events"
    for nothing in (
        b"/catalogue/none.json",
        b"/catalogue/../service.py",
        b"/catalogue/%2e%2e/page.py",
        b"/catalogue/page.html",
    ):
        assert (await ingest.ask("GET", nothing)).status == 404


async def dry_run(ingest: OwnIngest) -> dict[str, Any]:
    call = {"jsonrpc": "2.0", "id": 1, "method": "event.dryRun", "params": {"type": "order.x", "data": {"number": 9}}}
    answer = await ingest.ask("POST", b"/v1/rpc", json.dumps(call).encode(), [(b"content-type", b"application/json")])
    found: dict[str, Any] = json.loads(answer.body)["result"]
    return found


async def eventually_routed(ingest: OwnIngest, tag: str) -> None:
    """Returns once the rules name this tag."""

    async def look() -> None:
        assert tag in [each["tag"] for each in (await dry_run(ingest))["audience"]]

    await answered(look, AssertionError)
