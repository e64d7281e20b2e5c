"""Real webhook bodies come out of the stream as they went in, JSON for JSON, on both sets of adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.platform import Platform

pytestmark = pytest.mark.servers

PAYLOADS = sorted((Path(__file__).parents[1] / "fixtures" / "github").glob("*.json"))


def cloud_event(path: Path, audience: str) -> dict[str, Any]:
    """As a webhook receiver would address it."""
    body = json.loads(path.read_text())
    return {
        "specversion": "1.0",
        "id": f"delivery-{path.stem}",
        "source": body.get("repository", {}).get("html_url", "https://github.com"),
        "type": f"com.github.{path.stem}",
        "time": "2026-01-31T12:00:00.123456789Z",
        "datacontenttype": "application/json",
        "audience": audience,
        "data": body,
    }


async def test_github_payloads_come_out_equal(any_platform: Platform) -> None:
    assert len(PAYLOADS) >= 5
    async with any_platform.publisher() as publisher, any_platform.readers() as readers:
        alice = await readers.open("alice", "repos/octocat")
        for number, path in enumerate(PAYLOADS):
            audience = ("user:alice user:bob", "topic:repos/octocat")[number % 2]
            await publisher.publish_event(cloud_event(path, audience))
        late = await readers.open("alice", "repos/octocat", start="earliest")
        await any_platform.keeps_its_promises(publisher, readers)

    sent = [json.loads(path.read_text()) for path in PAYLOADS]
    for reader in (alice, late):
        received = [each for each in reader.reading.deliveries if each.type.startswith("com.github.")]
        assert [each.data["data"] for each in received] == sent
        assert [each.type for each in received] == [f"com.github.{path.stem}" for path in PAYLOADS]
        assert all("audience" not in each.data for each in received)
