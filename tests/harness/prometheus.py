"""A real Prometheus that asks one target every moment, with the alerts as they are shipped."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.local.servers import free_port
from tests.eventually import WITHIN_S, answered
from tests.harness.queries import JOB, PROMETHEUS

SERVER, TOOL = "/usr/bin/prometheus", "/usr/bin/promtool"
SCRAPE_EVERY = "500ms"
END_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Its HTTP API."""

    client: httpx.AsyncClient

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The result now. Fails for what is no PromQL."""
        found: list[dict[str, Any]] = (await self._get("/api/v1/query", query=expression))["result"]
        return found

    async def exemplars(self, expression: str) -> list[dict[str, str]]:
        """The labels of the exemplars that it has."""
        series = await self._get("/api/v1/query_exemplars", query=expression, start="0", end="99999999999")
        return [exemplar["labels"] for one in series for exemplar in one["exemplars"]]

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._get("/api/v1/rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _get(self, path: str, **query: str) -> Any:
        answer = (await self.client.get(path, params=query)).json()
        assert answer["status"] == "success", answer
        return answer["data"]


@asynccontextmanager
async def prometheus_on(target: str, folder: Path) -> AsyncIterator[Prometheus]:
    """Scrapes `host:port`; ended at the end."""
    port = free_port()
    process = _started(target, port, folder)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WITHIN_S) as client:

            async def ready() -> None:
                assert (await client.get("/-/ready")).status_code == httpx.codes.OK

            await answered(ready, httpx.TransportError, AssertionError)
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(END_WITHIN_S)


def _started(target: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    config = {
        "global": {"scrape_interval": SCRAPE_EVERY, "evaluation_interval": SCRAPE_EVERY},
        "rule_files": [str(PROMETHEUS / "alerts.yml")],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        SERVER,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (folder / "prometheus.log").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)
