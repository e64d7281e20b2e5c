"""The shipped rule sets on payloads: who receives, and what is said. Real ones of GitHub; for Stripe, made up in
the shapes of its API reference, which ships no examples.

All examples of GitHub go through the running platform in tests/e2e/test_github_webhooks.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.ingest.rules.loading import load, shipped_names
from services.ingest.rules.ruleset import Routing
from shared.model.event import Event
from tests.harness.rules import event, rules_of

GITHUB, STRIPE = load("github"), load("stripe")
PAYLOADS = Path(__file__).parents[1] / "fixtures" / "github"
ALICE = {"login": "alice", "type": "User"}
REPOSITORY = {"full_name": "acme/site", "html_url": "https://github.com/acme/site", "owner": {"login": "acme"}}
FOLLOWERS = "topic:github/acme/site"


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def routed(rules: Any, type_: str, data: Any) -> Routing:
    routing: Routing = rules.route(event(type_, data))
    assert [outcome.troubles for outcome in routing.matched] == [()] * len(routing.matched)
    return routing


def said(routing: Routing) -> dict[str, Any]:
    """The data of the only notification, but for what it is about."""
    (notification,) = routing.notifications
    return {name: text for name, text in notification.data.items() if name != "about"}


@pytest.mark.parametrize("name", shipped_names())
def test_each_shipped_rule_says_what_it_is_for(name: str) -> None:
    rules = load(name).rules
    assert len(rules) >= 8
    for rule in rules:
        assert rule.name.startswith(f"{name}.")
        assert rule.description
        assert str(rule.place).startswith(f"shipped/{name}.yaml:")


def test_a_real_comment_concerns_the_author_of_the_issue() -> None:
    body = payload("issue_comment")
    body["comment"]["user"]["login"] = "somebody"
    routing = routed(GITHUB, "github.issue_comment.created", body)
    assert set(routing.audience) == {"user:Codertocat", "topic:github/Codertocat/Hello-World"}
    assert said(routing)["title"] == f"somebody commented on {body['issue']['title']}"
    assert said(routing)["link"] == body["comment"]["html_url"]


def test_nobody_is_told_what_they_did_themselves() -> None:
    routing = routed(GITHUB, "github.issue_comment.created", payload("issue_comment"))
    assert routing.audience == ("topic:github/Codertocat/Hello-World",)
    assert routing.notifications == ()


def test_a_real_release_concerns_those_who_follow() -> None:
    body = payload("release")
    routing = routed(GITHUB, "github.release.published", body)
    (notification,) = routing.notifications
    assert notification.tags == ("topic:github/Codertocat/Hello-World",)
    assert notification.data["link"] == body["release"]["html_url"]


@pytest.mark.parametrize("name", ["push", "star", "workflow_dispatch", "issues", "dependabot_alert"])
def test_every_event_of_a_repository_reaches_its_followers(name: str) -> None:
    body = payload(name)
    routing = routed(GITHUB, f"github.{name}", body)
    assert f"topic:github/{body['repository']['full_name']}" in routing.audience


def run(conclusion: str) -> dict[str, Any]:
    failed = {
        "name": "CI",
        "conclusion": conclusion,
        "head_branch": "main",
        "html_url": "https://github.com/acme/site/runs/1",
    }
    return {
        "workflow_run": failed | {"head_commit": {"message": "Mend\n\nall"}},
        "sender": ALICE,
        "repository": REPOSITORY,
    }


def test_a_failed_run_concerns_whoever_started_it() -> None:
    routing = routed(GITHUB, "github.workflow_run.completed", run("failure"))
    assert said(routing) == {
        "title": "CI failed on main",
        "body": "acme/site: Mend",
        "link": "https://github.com/acme/site/runs/1",
        "level": "error",
        "topic": "github/builds",
    }
    assert routed(GITHUB, "github.workflow_run.completed", run("success")).notifications == ()


@pytest.mark.parametrize(
    ("state", "title", "level"),
    [
        ("approved", "bob approved Mend it", "success"),
        ("changes_requested", "bob asks for changes to Mend it", "warning"),
        ("commented", "bob reviewed Mend it", "info"),
    ],
)
def test_a_review_says_how_it_ended(state: str, title: str, level: str) -> None:
    review = {
        "user": {"login": "bob"},
        "state": state,
        "body": None,
        "html_url": "https://github.com/acme/site/pull/1#r",
    }
    data = {"review": review, "pull_request": {"title": "Mend it", "user": ALICE}, "repository": REPOSITORY}
    routing = routed(GITHUB, "github.pull_request_review.submitted", data)
    assert set(routing.audience) == {"user:alice", FOLLOWERS}
    assert (said(routing)["title"], said(routing)["level"]) == (title, level)


def test_an_issue_that_somebody_else_closes_concerns_author_and_assignees() -> None:
    issue = {"title": "Late", "number": 3, "user": ALICE, "assignees": [{"login": "bob"}, {"login": "eve"}]}
    data = {"issue": issue | {"html_url": "https://github.com/acme/site/issues/3"}, "sender": {"login": "eve"}}
    routing = routed(GITHUB, "github.issues.closed", data | {"repository": REPOSITORY})
    assert set(routing.audience) == {"user:alice", "user:bob", FOLLOWERS}
    assert said(routing)["title"] == "eve closed Late"


def test_logins_are_users_by_a_map() -> None:
    rules = rules_of("use: github\npeople: {github: {CoderTocat: alice}}")
    body = payload("issue_comment")
    body["comment"]["user"]["login"] = "somebody"
    assert "user:alice" in rules.route(event("github.issue_comment.created", body)).audience


# Stripe

CUSTOMER = "cus_NffrFeUfNV2Hib"
KNOWN = rules_of(f"use: stripe\npeople: {{stripe: {{{CUSTOMER}: alice}}}}")
INVOICE = {
    "object": "invoice",
    "amount_due": 1999,
    "amount_paid": 1999,
    "currency": "usd",
    "customer": CUSTOMER,
    "hosted_invoice_url": "https://invoice.stripe.com/i/acct_1/test_1",
    "next_payment_attempt": None,
    "number": "ABC-0001",
}


def stripe(type_: str, **of_object: Any) -> Event:
    """As Stripe sends it."""
    body = {"id": "evt_1", "object": "event", "livemode": False, "type": type_, "data": {"object": of_object}}
    return event(f"stripe.{type_}", body, source="/webhooks/stripe", id="evt_1")


@pytest.mark.parametrize(
    ("given_event", "audience", "title"),
    [
        (stripe("invoice.paid", **INVOICE), {"user:alice", "topic:billing"}, "Invoice paid: 19.99 USD"),
        (stripe("invoice.paid", **INVOICE | {"amount_paid": 0}), set(), None),
        (stripe("invoice.payment_failed", **INVOICE), {"user:alice", "topic:billing"}, "Payment failed: 19.99 USD"),
        (stripe("invoice.payment_action_required", **INVOICE), {"user:alice"}, "Confirm your payment of 19.99 USD"),
        (
            stripe("checkout.session.completed", amount_total=5, currency="jpy", customer=None, payment_status="paid"),
            {"topic:billing"},
            "Thank you: 5 JPY received",
        ),
        (
            stripe("customer.subscription.deleted", customer=CUSTOMER, trial_end=None),
            {"user:alice", "topic:billing"},
            "Your subscription has ended",
        ),
        (
            stripe("customer.subscription.trial_will_end", customer=CUSTOMER, trial_end=1769860800),
            {"user:alice"},
            "Your trial ends on 2026-01-31",
        ),
        (
            stripe("charge.refunded", amount_refunded=12345, currency="kwd", customer=CUSTOMER, receipt_url=None),
            {"user:alice", "topic:billing"},
            "Refunded: 12.345 KWD",
        ),
        (
            stripe("charge.dispute.created", amount=7000, currency="eur", reason="product_not_received",
                   evidence_details={"due_by": 1769860800}),
            {"topic:billing"},
            "Dispute over 70.00 EUR: product not received",
        ),
        (stripe("payment_intent.created", amount=7000, currency="eur", customer=CUSTOMER), set(), None),
    ],
    ids=lambda value: value.type if isinstance(value, Event) else "",
)  # fmt: skip
def test_what_stripe_tells(given_event: Event, audience: set[str], title: str | None) -> None:
    routing = KNOWN.route(given_event)
    assert set(routing.audience) == audience
    assert [each.data["title"] for each in routing.notifications] == ([title] if title else [])
    assert [outcome.troubles for outcome in routing.matched] == [()] * len(routing.matched)


def test_a_failed_payment_says_when_it_is_tried_again() -> None:
    again = stripe("invoice.payment_failed", **INVOICE | {"next_payment_attempt": 1769860800})
    never = stripe("invoice.payment_failed", **INVOICE)
    assert said(KNOWN.route(again))["body"] == "It is tried again on 2026-01-31."
    assert said(KNOWN.route(never))["body"] == "It is not tried again."


def test_a_customer_whom_nobody_knows_is_nobody() -> None:
    routing = STRIPE.route(stripe("invoice.paid", **INVOICE))
    assert routing.audience == ("topic:billing",)
    assert "is nobody here" in routing.matched[0].notes[0]
