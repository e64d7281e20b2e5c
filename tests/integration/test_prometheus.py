"""What is shipped for Prometheus and Grafana, in the real Prometheus over a real platform."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from services.cli import commands
from services.edge.tokens import sign_token
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import DevPlatform
from tests.harness.prometheus import TOOL, prometheus_on
from tests.harness.publisher import new_event
from tests.harness.queries import PROMETHEUS, alert_queries, dashboard_queries

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    "arguments", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]], ids=" ".join
)
def test_promtool_finds_nothing_wrong(arguments: list[str]) -> None:
    """Among it, for each alert, when it fires and when not."""
    done = subprocess.run([TOOL, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_every_panel_shows_something_and_an_exemplar_leads_to_a_journey(tmp_path: Path) -> None:
    async with DevPlatform(tmp_path, heartbeat_s=1) as platform:
        await platform.start()
        target = platform.dev.url.removeprefix("http://")
        async with prometheus_on(target, tmp_path) as prometheus:
            await traffic(platform)

            async def every_panel_shows_something() -> None:
                results = {name: await prometheus.query(query) for name, query in dashboard_queries().items()}
                assert not [name for name, result in results.items() if not result]

            async def every_rule_is_evaluated() -> None:
                rules = await prometheus.rules()
                assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(alert_queries(), "ok")

            async def an_exemplar_leads_to_a_journey() -> None:
                exemplars = await prometheus.exemplars("carillon_delivery_seconds_bucket")
                assert exemplars
                arguments = ["trace", exemplars[0]["trace_id"], "--data", str(platform.data_dir)]
                found = await asyncio.to_thread(CliRunner().invoke, commands, arguments)
                assert found.exit_code == 0, found.output
                assert "accepted" in found.output

            # What is shown was asked for twice a second, and what happened is kept once a second.
            for is_so in (every_panel_shows_something, every_rule_is_evaluated, an_exemplar_leads_to_a_journey):
                await answered(is_so, AssertionError)


async def traffic(platform: DevPlatform) -> None:
    """A bit of everything that has a panel, some of it going wrong."""
    token = sign_token(platform.jwt_secret, sub="alice", tags=(), ttl_s=600)
    lost = {"Authorization": f"Bearer {token}", "Last-Event-ID": "nonsense"}
    async with (
        platform.publisher() as publisher,
        platform.readers() as readers,
        httpx.AsyncClient(timeout=WITHIN_S) as client,
    ):
        await readers.open("alice")
        for _ in range(5):
            again = await publisher.publish("user:alice")
        await publisher.publish_event(again.attributes)
        await publisher.publish(subject="a/stream", expectedversion=7)
        await publisher.send(new_event("control:alice"))
        async with client.stream("GET", f"{platform.dev.url}/v1/events", headers=lost):
            pass
