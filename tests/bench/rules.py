"""What loaded rules cost an event, without any server: a thousand of them, told apart in different ways."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

from services.ingest.rules.declared import declared
from services.ingest.rules.loading import assembled, load
from services.ingest.rules.ruleset import RuleSet
from shared.model.event import Event
from tests.bench.measure import Benchmark, Failed, Figure, Sample, at_most, best_s
from tests.bench.stage import Stage

RULES = 1000
REPEATS = 20
# What the issue asks of a thousand rules.
MAX_ADDED_US = 1000
# 11 KiB, as GitHub sends it.
PAYLOAD = Path(__file__).parents[1] / "fixtures" / "github" / "issue_comment.json"
TYPE, SOURCE = "shop.orders.created", "https://example.test/repo-7"

# Of each rule, by how it differs from the others: its match. Rule 7 is the one that fits.
MATCHES = {
    "by type": "type: shop.orders.n{n}",
    "by pattern": "type: shop.n{n}.*",
    "by source": "type: shop.orders.created, source: 'https://example.test/repo-{n}'",
    "by value": f"type: {TYPE}, when: \"data.action == 'created' && data.repository.full_name == 'repo-{{n}}'\"",
}
NOTIFYING = """
    audience: "user:{{{{ data.issue.user.login }}}}-{n}"
    except: "user:{{{{ data.sender.login }}}}"
    notify:
      title: "{{{{ data.sender.login }}}} commented: {{{{ data.issue.title }}}} {n}"
      body: "{{{{ data.comment.body | truncate(500) }}}}"
      link: "{{{{ data.comment.html_url }}}}"
"""


def a_thousand(match: str) -> RuleSet:
    rules = (f"  - name: r{n}\n    match: {{{match.format(n=n)}}}{NOTIFYING.format(n=n)}" for n in range(RULES))
    return assembled([declared("rules:\n" + "".join(rules), "bench.yaml")])


def event(how: str) -> Event:
    """One that exactly one of the rules matches."""
    body = json.loads(PAYLOAD.read_text())
    body["repository"]["full_name"] = "repo-7"
    type_ = {"by type": "shop.orders.n7", "by pattern": "shop.n7.created"}.get(how, TYPE)
    attributes = {"specversion": "1.0", "id": "1", "source": SOURCE, "type": type_, "data": body}
    return Event.from_attributes(attributes)


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    sets = {how: a_thousand(match) for how, match in MATCHES.items()}
    steps = {how: partial(rules.route, event(how)) for how, rules in sets.items()}
    for how, step in steps.items():
        if (matched := len(step().matched)) != 1:
            raise Failed(f"{how}: {matched} of {RULES} rules match, and not one")
    github = event("by value").model_copy(update={"type": "github.issue_comment.created"})
    # No index helps where each condition must be looked at.
    alike = a_thousand(f"type: {TYPE}, when: 'data.issue.number > `{{n}}`'")
    steps["all conditions"] = partial(alike.route, event("by value"))
    steps["github's own 14"] = partial(load("github").route, github)
    for _ in stage.runs():
        yield {how: best_s(step, REPEATS) * 1_000_000 for how, step in steps.items()}


BENCHMARK = Benchmark(
    "rules",
    f"routing one event of 11 KiB with {RULES:,} rules loaded, of which one matches and notifies",
    (
        *(Figure(how, "µs/event", at_most(MAX_ADDED_US)) for how in MATCHES),
        Figure("all conditions", "µs/event"),
        Figure("github's own 14", "µs/event"),
    ),
    runs,
)
