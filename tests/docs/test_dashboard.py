"""The dashboard and the alerts ask for metrics, labels and words that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import promql_parser
import pytest

from shared.model.errors import BrokerUnavailable, LogUnavailable
from tests.docs.pages import ROOT
from tests.docs.test_metrics_page import made
from tests.harness.queries import PROMETHEUS, alert_queries, dashboard, dashboard_queries

QUERIES = dashboard_queries() | dict(alert_queries())
OF_PROMETHEUS = {"up": ("gauge",)}
OF_THE_SCRAPE = {"job", "instance", "le"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
LABELS: dict[str, tuple[str, ...]] = {
    f"{name}{suffix}": (*labels, "le") if kind == "histogram" else tuple(labels)
    for name, (kind, *labels) in (made() | OF_PROMETHEUS).items()
    for suffix in SUFFIXES[kind]
} | {"process_cpu_seconds_total": (), "process_resident_memory_bytes": ()}


def parts(expression: Any) -> Iterator[Any]:
    """The expression and all within it."""
    yield expression
    inner = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for each in [*inner, *(getattr(expression, "args", None) or ())]:
        if each is not None:
            yield from parts(each)


def selectors(query: str) -> list[Any]:
    return [part for part in parts(promql_parser.parse(query)) if isinstance(part, promql_parser.VectorSelector)]


def words_of_the_code() -> set[str]:
    files = [path for folder in ("services", "shared") for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    away = {f"{error('').backend}-unavailable" for error in (BrokerUnavailable, LogUnavailable)}
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)} | away


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_asks_for_what_there_is(name: str) -> None:
    query = QUERIES[name]
    found = selectors(query)
    assert found
    for selector in found:
        assert selector.name in LABELS, selector.name
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= {*LABELS[selector.name], *OF_THE_SCRAPE}, selector.name
        assert "job" in asked, "of this platform, not of all that Prometheus has"


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_groups_by_labels_that_its_metrics_have(name: str) -> None:
    for part in parts(promql_parser.parse(QUERIES[name])):
        modifier = getattr(part, "modifier", None)
        if isinstance(part, promql_parser.AggregateExpr) and modifier is not None:
            metrics = [each.name for each in parts(part) if isinstance(each, promql_parser.VectorSelector)]
            known = {label for metric in metrics for label in LABELS[metric]} | OF_THE_SCRAPE
            assert set(modifier.labels) <= known


@pytest.mark.parametrize("name", QUERIES)
def test_counters_are_asked_for_their_rate_and_histograms_for_their_buckets(name: str) -> None:
    in_rates = {
        each.name
        for part in parts(promql_parser.parse(QUERIES[name]))
        if isinstance(part, promql_parser.Call) and part.func.name in ("rate", "increase")
        for each in parts(part)
        if isinstance(each, promql_parser.VectorSelector)
    }
    counting = {each.name for each in selectors(QUERIES[name]) if re.search("_(total|bucket|sum|count)$", each.name)}
    assert in_rates == counting


def test_words_that_are_asked_for_are_words_of_the_code() -> None:
    words = words_of_the_code()
    asked = {
        word
        for query in QUERIES.values()
        for selector in selectors(query)
        for matcher in selector.matchers.matchers
        if matcher.name != "job"
        for word in matcher.value.split("|")
    }
    assert asked
    assert asked <= words


def test_panels_do_not_lie_on_one_another() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    fields = [{(x, y) for x in xs for y in ys} for xs, ys in map(_places, panels)]
    assert all(not one & other for one, other in combinations(fields, 2))
    assert all(x < 24 for field in fields for x, _ in field)


def _places(panel: dict[str, Any]) -> tuple[range, range]:
    at = panel["gridPos"]
    return range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])


def test_every_alert_says_what_to_do_and_has_its_own_test() -> None:
    text = (PROMETHEUS / "alerts.yml").read_text()
    assert text.count("          do: ") == text.count("          summary: ") == len(alert_queries())
    tested = re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts_test.yml").read_text())
    assert set(tested) == set(alert_queries())
