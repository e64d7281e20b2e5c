"""The queries of the dashboard and of the alerts, as they are shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "infra" / "prometheus"
JOB = "carillon"
# What Grafana makes of its own variables; a test's Prometheus has been there for seconds.
VARIABLES = {"$job": JOB, "$__rate_interval": "1m"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "infra" / "grafana" / "carillon.json").read_text())
    return found


def dashboard_queries() -> dict[str, str]:
    """PromQL by panel and reference, such as `Events A`."""
    targets = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    }
    return {name: _resolved(expression) for name, expression in targets.items()}


def alert_queries() -> Mapping[str, str]:
    """PromQL by the alert's name."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def _resolved(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression
