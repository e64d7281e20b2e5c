"""Spans by OTLP, sent by a real process to a collector in another, and read back."""

from __future__ import annotations

from base64 import b64decode
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import answered
from tests.harness.collector import collecting
from tests.harness.platform import DevPlatform


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_trace_is_read_back_from_the_collector(
    tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with collecting(tmp_path) as collector:
        settings = {
            "otlp_endpoint": collector.endpoint(protocol),
            "otlp_protocol": protocol,
            "otlp_headers": "x-key=of-the-tenant",
        }
        async with DevPlatform(tmp_path, **settings) as platform:
            await platform.start()
            async with platform.publisher() as publisher, platform.readers() as readers:
                await readers.open("alice")
                confirmed = await publisher.publish("user:alice")

                async def arrived() -> dict[str, dict[str, Any]]:
                    spans = [span for span in collector.spans if span["trace_id"] == confirmed.trace_id]
                    found = {span["name"]: span for span in spans}
                    assert len(found) == 4
                    return found

                spans = await answered(arrived, AssertionError)

    producer = spans["publish carillon.events"]
    kinds = {name: (span["kind"], span["parent_span_id"]) for name, span in spans.items()}
    assert kinds == {
        "POST /v1/events": ("SPAN_KIND_SERVER", spans["POST /v1/events"]["parent_span_id"]),
        "publish carillon.events": ("SPAN_KIND_PRODUCER", spans["POST /v1/events"]["span_id"]),
        "publish carillon.deliveries": ("SPAN_KIND_CLIENT", producer["span_id"]),
        "process user.{id}": ("SPAN_KIND_CONSUMER", producer["span_id"]),
    }
    delivery = spans["process user.{id}"]
    assert delivery["attributes"].items() >= {"user.id": "alice", "carillon.replayed": False}.items()
    assert 0 <= int(delivery["endTimeUnixNano"]) - int(delivery["startTimeUnixNano"]) < 30e9
    resource = delivery["resource"]
    assert resource.items() >= {
        "service.name": "carillon-dev", "service.namespace": "carillon", "service.version": version("carillon"),
        "deployment.environment.name": "test",
    }.items()  # fmt: skip
    assert resource["service.instance.id"]
    assert delivery["headers"]["x-key"] == "of-the-tenant"
    batches = [span for span in collector.spans if span["name"] == "process carillon.log"]
    assert confirmed.trace_id in {_hex(link["traceId"]) for batch in batches for link in batch["links"]}


def _hex(base64: str) -> str:

    return b64decode(base64).hex()
