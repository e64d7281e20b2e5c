"""docs/reference/metrics.md against the metrics that there are, both ways."""

from __future__ import annotations

import re
from typing import Any

from prometheus_client import Counter, Histogram

from shared.telemetry import metrics
from tests.docs.pages import text_of

PAGE = "docs/reference/metrics.md"
OF_THE_LIBRARY = ("process_", "python_")


def told() -> dict[str, tuple[str, ...]]:
    """Type and labels by name, as the page's tables have them."""
    rows = re.findall(r"^\| `(carillon_\w+)` \| (\w+) \| (.*?) ?\| .+ \|$", text_of(PAGE), re.MULTILINE)
    return {name: (kind, *re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}


def made() -> dict[str, tuple[str, ...]]:
    """The same, as Prometheus is told."""
    labels = {name: each for metric in vars(metrics).values() for name, each in labels_of(metric)}
    families = [family for family in metrics.REGISTRY.collect() if not family.name.startswith(OF_THE_LIBRARY)]
    return {family.name: (family.type, *labels[family.name]) for family in families}


def labels_of(metric: Any) -> list[tuple[str, tuple[str, ...]]]:
    if isinstance(metric, Counter | Histogram):
        return [(metric._name, tuple(metric._labelnames))]
    if isinstance(metric, metrics.Tallies | metrics.PolledEach):
        return [(metric._name, (metric.label,))]
    if isinstance(metric, metrics.HotHistogram | metrics.Polled):
        return [(metric._name, ())]
    return []


def test_the_page_tells_of_every_metric_and_of_no_other() -> None:
    assert told() == made()


def test_every_metric_says_what_it_is() -> None:
    assert not [family.name for family in metrics.REGISTRY.collect() if not family.documentation]
