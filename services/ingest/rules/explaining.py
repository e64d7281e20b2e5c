"""What rules would do with an event, and why; nothing is published. Pure.

`carillon rules test` and the RPC method `event.dryRun` say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.ingest.rules.outcome import Outcome
from services.ingest.rules.ruleset import RuleSet, added_tags
from shared.model.event import Event

# Of rules whose type fits and whose condition does not hold; whoever reads them looks for one.
MAX_UNMATCHED_SHOWN = 50

OWN = "the event's own audience"


def explain(rules: RuleSet, event: Event) -> dict[str, Any]:
    """Who would receive the event and why, each rule that matched or nearly did, and what it would say.

    Shape: `{"event", "audience": [{"tag", "because": […]}], "rules": […], "notifications": […], "loaded"}`, as JSON.
    """
    outcomes = list(rules.outcomes(event))
    matched = rules.routing(event, outcomes).matched
    unmatched = [each for each in outcomes if not each.matched] + list(rules.unmatched(event, outcomes))
    return {
        "event": {"source": event.source, "id": event.id, "type": event.type},
        "audience": _audience(event, matched),
        "rules": [_shown(each) for each in (*matched, *unmatched[:MAX_UNMATCHED_SHOWN])],
        "notifications": [_notification(each.notification) for each in matched if each.notification],
        "loaded": len(rules.rules),
    }


def _audience(event: Event, matched: Iterable[Outcome]) -> list[dict[str, Any]]:
    reasons: dict[str, list[str]] = {tag: [OWN] for tag in event.tags}
    reasons |= {tag: [] for tag in added_tags(event, matched)}
    for each in matched:
        for grant in each.granted:
            # A tag beyond the bounds of an audience has no entry.
            reasons.get(grant.tag, []).append(f"rule {each.rule.name}: {grant.by}")
    return [{"tag": tag, "because": because} for tag, because in reasons.items()]


def _shown(each: Outcome) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "rule": each.rule.name,
        "place": str(each.rule.place),
        "matched": each.matched,
        "why": each.why,
        "audience": [grant.tag for grant in each.granted],
        "troubles": list(each.troubles),
        "notes": list(each.notes),
    }
    return shown | ({"says": each.notification.data} if each.notification else {})


def _notification(event: Event) -> dict[str, Any]:
    return {"source": event.source, "id": event.id, "audience": list(event.tags), "data": event.data}
