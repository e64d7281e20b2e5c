"""Rules together: who receives an event, what is said to them; hostile data makes no tag, and nothing raises."""

from __future__ import annotations

import json
from textwrap import indent
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.rules.audience import MAX_ITEMS, MAX_TAG_BYTES_PER_RULE, MAX_TAGS_PER_RULE
from services.ingest.rules.explaining import OWN, explain
from services.ingest.rules.index import fits
from services.ingest.rules.notice import MAX_BODY_CHARS, MAX_TITLE_CHARS
from services.ingest.rules.outcome import Outcome
from services.ingest.rules.ruleset import MAX_ADDED_BYTES, MAX_NOTIFICATIONS, RuleSet, added_tags
from shared.model.event import Event
from shared.model.tags import CONTROL, MAX_AUDIENCE_TAGS, checked_tag
from tests.harness.rules import event, rules_of


def one(match: str, *more: str, name: str = "r") -> str:
    """The text of a rule."""
    return f"  - name: {name}\n    match: {{{match}}}\n" + "".join(indent(text, "    ") + "\n" for text in more)


def routed(rules: str, given_event: Event) -> tuple[str, ...]:
    return rules_of("rules:\n" + rules).route(given_event).audience


def outcome_of(rules: str, given_event: Event) -> Outcome:
    (only,) = rules_of("rules:\n" + rules).outcomes(given_event)
    return only


# Matching


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ("type: order.created", True),
        ("type: order.paid", False),
        ("type: [order.paid, order.created]", True),
        ("type: order.*", True),
        ("type: '*'", True),
        ("type: '*.created'", True),
        ("type: ord*", True),
        ("type: order.created.*", False),
        ("type: ORDER.CREATED", False),
        ("type: order.created, source: /shop", True),
        ("type: order.created, source: /other", False),
        ("type: order.created, source: [/other, /shop]", True),
        ("type: order.*, source: /sh*", True),
        ("type: order.created, subject: order/7", True),
        ("type: order.created, subject: order/*", True),
        ("type: order.created, subject: job/*", False),
        ("type: order.created, when: data.total > `5`", True),
        ("type: order.created, when: data.total > `50`", False),
        ("type: order.created, when: \"data.user == 'bob' && data.total\"", True),
        ("type: order.created, when: \"data.user == 'eve'\"", False),
        ("type: order.created, when: \"source == '/shop'\"", True),
        ("type: order.created, when: \"extensions.region == 'eu'\"", True),
        ("type: order.created, when: \"contains(data.none, 'x')\"", False),
    ],
)
def test_what_a_rule_matches(match: str, matches: bool) -> None:
    order = event("order.created", {"total": 12.5, "user": "bob"}, subject="order/7", region="eu")
    assert (routed(one(match, "audience: topic:x"), order) == ("topic:x",)) is matches


def test_audiences_unite_and_leave_out_what_the_event_has() -> None:
    rules = "".join(
        one("type: a", f"audience: [{tags}]", name=f"r{number}")
        for number, tags in enumerate(("user:bob, user:alice", "user:bob, topic:x", "user:carol"))
    )
    routing = rules_of("rules:\n" + rules).route(event("a", audience="user:alice everyone"))
    assert routing.audience == ("user:bob", "topic:x", "user:carol")
    assert [outcome.rule.name for outcome in routing.matched] == ["r0", "r1", "r2"]


def test_a_list_makes_a_tag_for_each_of_its_items_but_the_exceptions() -> None:
    rule = one(
        "type: a",
        "audience: [{each: data.reviewers, tag: 'user:{{ item.login }}'}, {each: data.owner, tag: 'user:{{ item }}'}]",
        "except: 'user:{{ data.sender }}'",
    )
    data = {"reviewers": [{"login": "bob"}, {"login": "eve"}, {"login": "bob"}], "owner": "olga", "sender": "eve"}
    assert routed(rule, event("a", data)) == ("user:bob", "user:olga")
    assert routed(rule, event("a", {"sender": "eve"})) == ()


def test_people_have_other_names_elsewhere() -> None:
    text = "people: {github: {octo: alice, bot: null}}\nrules:\n" + one(
        "type: a", "audience: {each: data, tag: \"user:{{ item | user('github') }}\"}"
    )
    (outcome,) = rules_of(text).route(event("a", ["Octo", "bot", "mona"])).matched
    assert [grant.tag for grant in outcome.granted] == ["user:alice", "user:mona"]
    assert (outcome.troubles, outcome.refused_tags) == ((), 0)
    assert "'bot' is nobody here" in outcome.notes[0]


# Hostile data


@pytest.mark.parametrize(
    "hostile",
    [
        "a everyone",
        "a\tuser:root",
        "a\nuser:root",
        "a\u00a0b",
        "a\u2028b",
        "",
        " ",
        "\x00",
        "\x7f",
        "x" * 300,
        "é" * 120,
        None,
        {},
        [],
        {"a": "b"},
    ],
)
def test_data_that_makes_no_tag_is_dropped_counted_and_told(hostile: Any) -> None:
    rule = one("type: a", "audience: ['user:{{ data.who }}', topic:fine]", "notify: {title: t}")
    outcome = outcome_of(rule, event("a", {"who": hostile}))
    assert [grant.tag for grant in outcome.granted] == ["topic:fine"]
    assert outcome.refused_tags == 1
    assert outcome.troubles[0].startswith("audience: user:{{ data.who }}: ")
    assert outcome.notification is not None
    assert outcome.notification.tags == ("topic:fine",)


def test_a_long_list_is_cut_and_told() -> None:
    rule = one("type: a", "audience: {each: data, tag: 'user:{{ item }}'}")
    outcome = outcome_of(rule, event("a", list(range(MAX_ITEMS + 7))))
    assert len(outcome.granted) == MAX_ITEMS
    assert outcome.refused_tags == 7
    assert f"{MAX_ITEMS + 7} items" in outcome.troubles[0]


def test_one_rule_makes_so_many_tags() -> None:
    entries = ", ".join(f"{{each: data.l{number}, tag: 'user:{{{{ item }}}}-{number}'}}" for number in range(3))
    outcome = outcome_of(
        one("type: a", f"audience: [{entries}]"), event("a", {f"l{number}": list(range(400)) for number in range(3)})
    )
    assert len(outcome.granted) == MAX_TAGS_PER_RULE
    assert outcome.refused_tags == 200


def test_one_rule_makes_so_many_bytes_of_tags() -> None:
    rule = one("type: a", "audience: {each: data, tag: 'user:{{ item }}'}")
    outcome = outcome_of(rule, event("a", [f"{number:03d}{'x' * 180}" for number in range(400)]))
    assert sum(len(grant.tag) + 1 for grant in outcome.granted) <= MAX_TAG_BYTES_PER_RULE
    assert len(outcome.granted) + outcome.refused_tags == 400


def test_all_rules_together_add_no_more_than_an_audience_holds() -> None:
    def many(number: int) -> str:
        return one("type: a", f"audience: {{each: data, tag: 'user:{number}-{{{{ item }}}}'}}", name=f"r{number}")

    routing = rules_of("rules:\n" + "".join(map(many, range(6)))).route(
        event("a", list(range(400)), audience="user:x user:y")
    )
    assert len(routing.audience) == MAX_AUDIENCE_TAGS - 2
    assert sum(len(tag) + 1 for tag in routing.audience) <= MAX_ADDED_BYTES


def test_what_costs_too_much_is_given_up_and_told() -> None:
    costly = one("type: a", "audience: {each: 'data.list[?x].y[]', tag: 'user:{{ item }}'}", "notify: {title: t}")
    fine = one("type: a", "audience: topic:fine", name="fine")
    routing = rules_of("rules:\n" + costly + fine).route(event("a", {"list": [{}] * 20_000}))
    assert routing.audience == ("topic:fine",)
    assert routing.notifications == ()
    assert "too much work" in routing.matched[0].troubles[0]


def test_rules_that_together_cost_too_much_are_given_up_in_their_order() -> None:
    rules = "".join(
        one("type: a, when: 'data[?x] || `true`'", f"audience: topic:t{number}", name=f"r{number}")
        for number in range(9)
    )
    routing = rules_of("rules:\n" + rules).route(event("a", [{}] * 4_000))
    assert 1 <= len(routing.audience) < 9
    assert routing.audience == tuple(f"topic:t{number}" for number in range(len(routing.audience)))
    explained = explain(rules_of("rules:\n" + rules), event("a", [{}] * 4_000))
    assert "it was stopped" in explained["rules"][-1]["why"]


# Notifications

NOTIFYING = one(
    "type: order.*",
    "audience: 'user:{{ data.user }}'",
    "notify:\n  title: 'Order {{ data.number }}\n\n    is on its way'\n  body: '{{ data.text }}'\n"
    "  link: '{{ data.link }}'\n  level: '{{ data.level }}'\n  topic: '{{ data.topic }}'",
    name="sent",
)
DATA = {
    "user": "bob",
    "number": 7,
    "text": "by bike",
    "link": "https://shop.test/7",
    "level": "success",
    "topic": "orders",
}


def test_a_rule_that_notifies_makes_an_event_that_follows_from_its_own() -> None:
    order = event(
        "order.sent",
        DATA,
        subject="order/7",
        time="2026-01-31T12:00:00Z",
        traceparent="00-456f05e79026d949d25d43cf43bac8ce-ba0e76e8d78b7704-03",
        tracestate="a=b",
    )
    routing = rules_of("rules:\n" + NOTIFYING).route(order)
    (notification,) = routing.notifications
    assert json.loads(notification.to_json()) == {
        "specversion": "1.0",
        "id": "65638845d47d955900f0f7a140c6e0b0",
        "source": "/carillon/rules/sent",
        "type": "notification.sent",
        "time": "2026-01-31T12:00:00Z",
        "datacontenttype": "application/json",
        "audience": "user:bob",
        "traceparent": "00-456f05e79026d949d25d43cf43bac8ce-ba0e76e8d78b7704-03",
        "tracestate": "a=b",
        "data": {
            "title": "Order 7 is on its way",
            "body": "by bike",
            "link": "https://shop.test/7",
            "level": "success",
            "topic": "orders",
            "about": {"source": "/shop", "id": "1", "type": "order.sent", "subject": "order/7"},
        },
    }
    assert rules_of("rules:\n" + NOTIFYING).route(order).notifications == routing.notifications
    other = rules_of("rules:\n" + NOTIFYING).route(event("order.sent", DATA, id="2"))
    assert other.notifications[0].id != notification.id


def test_each_rule_that_notifies_makes_one() -> None:
    rules = "".join(one("type: a", "notify: {title: t}", name=f"r{number}") for number in range(3))
    routing = rules_of("rules:\n" + rules).route(event("a", audience="user:bob topic:x"))
    assert [each.source for each in routing.notifications] == [f"/carillon/rules/r{number}" for number in range(3)]
    assert {each.tags for each in routing.notifications} == {("user:bob", "topic:x")}
    assert routing.audience == ()


def test_so_many_notifications_are_made_about_one_event() -> None:
    rules = "".join(
        one("type: a", "audience: topic:x", "notify: {title: t}", name=f"r{number}") for number in range(25)
    )
    routing = rules_of("rules:\n" + rules).route(event("a"))
    assert len(routing.notifications) == MAX_NOTIFICATIONS
    assert ["not said" in "".join(each.troubles) for each in routing.matched] == [False] * 20 + [True] * 5
    explained = explain(rules_of("rules:\n" + rules), event("a"))
    assert len(explained["notifications"]) == MAX_NOTIFICATIONS


def test_nobody_to_notify_is_no_notification() -> None:
    silent = one("type: a", "notify: {title: t}") + one("type: a", "audience: 'user:{{ data.x }}'", name="other")
    assert rules_of("rules:\n" + silent).route(event("a", {"x": "a b"})).notifications == ()


@pytest.mark.parametrize(
    ("changed", "said", "trouble"),
    [
        ({"link": "javascript:alert(1)"}, {"link": None}, "link: 'javascript:alert(1)' is no http(s) address"),
        ({"link": "//evil.test/x"}, {"link": None}, "link: "),
        ({"link": "/\\evil.test"}, {"link": None}, "link: "),
        ({"link": "data:text/html,x"}, {"link": None}, "link: "),
        ({"link": "https://a b"}, {"link": None}, "link: "),
        ({"link": "/orders/7?a=b#c"}, {"link": "/orders/7?a=b#c"}, None),
        ({"level": "loud"}, {"level": None}, "level: 'loud' is none of"),
        ({"topic": "a b"}, {"topic": None}, "topic: 'topic:a b' is not a tag"),
        ({"number": None}, {"title": "order.sent"}, "title: it is null"),
        ({"text": None}, {"body": None}, "body: it is null"),
        ({"text": "a\x1b[2J\x00b\nc"}, {"body": "a[2Jb\nc"}, None),
        ({"number": "7\x1b\t8"}, {"title": "Order 7 8 is on its way"}, None),
        ({"text": "<b>&"}, {"body": "<b>&"}, None),
        ({"text": "x" * 9999}, {"body": "x" * (MAX_BODY_CHARS - 1) + "…"}, None),
        ({"number": "7" * 999}, {"title": f"Order {'7' * (MAX_TITLE_CHARS - 7)}…"}, None),
    ],
)
def test_what_a_notification_may_not_hold_is_left_out_and_told(
    changed: dict[str, Any], said: dict[str, Any], trouble: str | None
) -> None:
    outcome = outcome_of(NOTIFYING, event("order.sent", DATA | changed))
    assert outcome.notification is not None
    shown = outcome.notification.data
    assert {name: shown.get(name) for name in said} == said
    assert set(DATA) - {"user", "number", "text"} - set(said) <= set(shown)
    assert outcome.troubles == () if trouble is None else trouble in outcome.troubles[0]


def test_a_control_tag_of_the_event_is_notified_nobody() -> None:
    outcome = outcome_of(one("type: a", "notify: {title: t}"), event("a", audience="control:bob user:alice"))
    assert outcome.notification is not None
    assert outcome.notification.tags == ("user:alice",)


# Explaining


def test_a_dry_run_says_who_and_why_and_what() -> None:
    never = one("type: order.*, when: \"data.user == 'eve'\"", "audience: topic:x", name="never")
    other = one("type: job.*", "audience: topic:y", name="other")
    explained = explain(
        rules_of("rules:\n" + NOTIFYING + never + other), event("order.sent", DATA, audience="user:bob topic:z")
    )
    assert explained["audience"] == [
        {"tag": "user:bob", "because": [OWN, "rule sent: user:{{ data.user }}"]},
        {"tag": "topic:z", "because": [OWN]},
    ]
    assert [(each["rule"], each["matched"], each["why"]) for each in explained["rules"]] == [
        ("sent", True, "its match fits"),
        ("never", False, "when is false"),
    ]
    assert explained["rules"][0]["says"]["title"] == "Order 7 is on its way"
    assert explained["notifications"][0]["audience"] == ["user:bob"]
    assert explained["loaded"] == 3
    json.dumps(explained)


# Any rules, any event

texts = st.sampled_from(
    [
        "",
        "bob",
        "a b",
        "everyone",
        "control:x",
        "\n",
        "\u2003",
        "x" * 250,
        "{{ data }}",
        "javascript:x",
        "🦊",
        "topic:x",
    ]
) | st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "list", "user"]), inner),
    max_leaves=15,
)
tag_templates = st.sampled_from(
    [
        "everyone", "user:bob", "topic:{{ data.a }}", "user:{{ data }}", "user:{{ data.user }}",
        "session:{{ data.list[0] }}",
        "user:{{ data.a }}{{ data.b }}", "user:{{ data.a | default(data.b) | user('m') }}", "connection:{{ type }}",
        "user:{% if data.a %}{{ data.a }}{% endif %}", "topic:a/{{ subject }}",
    ]
)  # fmt: skip
entries = st.one_of(
    tag_templates,
    st.fixed_dictionaries(
        {
            "each": st.sampled_from(["data", "data.list", "data.list[].user", "data.*", "data.list[?a]", "keys(data)"]),
            "tag": st.sampled_from(["user:{{ item }}", "topic:{{ item.a }}", "user:{{ item.user | lower }}"]),
        }
    ),
)
conditions = st.sampled_from(
    [
        "data",
        "data.a == 'bob'",
        "data.a == `1`",
        "data.a == `true` || data.a == `null`",
        "length(data) > `1`",
        "contains(data.list, 'a')",
        "!(data.a)",
        "data.a < data.b",
    ]
)
notices = st.fixed_dictionaries(
    {"title": st.sampled_from(["t", "{{ data.a }}", "{{ data }}", "{{ subject | default('none') }}"])},
    optional={
        "body": st.sampled_from(["{{ data.list | join }}", "{{ data.b }}"]),
        "link": st.sampled_from(["{{ data.a }}", "https://x.test/{{ data.user }}"]),
        "level": st.sampled_from(["error", "{{ data.a }}"]),
        "topic": st.sampled_from(["x", "{{ data.a }}"]),
    },
)
types = st.sampled_from(["a", "a.b", "a.*", "*", "*.b", "b", "a.b.*", "a*"])
matching = st.fixed_dictionaries(
    {"type": types | st.lists(types, min_size=1, max_size=3)},
    optional={
        "when": conditions,
        "source": st.sampled_from(["/s", "/*", "/x"]),
        "subject": st.sampled_from(["*", "s/1"]),
    },
)
rules_strategy = st.lists(
    st.fixed_dictionaries(
        {"match": matching, "audience": st.lists(entries, min_size=1, max_size=3)},
        optional={"except": tag_templates, "notify": notices},
    ),
    min_size=1,
    max_size=6,
)
events = st.builds(
    lambda type_, data, source, subject: event(
        type_, data, source=source, audience="user:own", **({"subject": subject} if subject else {})
    ),
    st.sampled_from(["a", "a.b", "b", "a.b.c", "c.b"]),
    values,
    st.sampled_from(["/s", "/x", "/s/t"]),
    st.sampled_from([None, "s/1", "s/2"]),
)


def set_of(rules: list[dict[str, Any]]) -> RuleSet:
    return rules_of(yaml.safe_dump({"rules": [rule | {"name": f"r{number}"} for number, rule in enumerate(rules)]}))


@settings(max_examples=60, deadline=None)
@given(rules=rules_strategy, given_event=events)
def test_any_rules_and_any_event_make_lawful_tags_and_the_same_again(
    rules: list[dict[str, Any]], given_event: Event
) -> None:
    rule_set = set_of(rules)
    routing = rule_set.route(given_event)
    for notification in routing.notifications:
        assert Event.from_json(notification.to_json()) == notification
    for tag in (*routing.audience, *(tag for each in routing.notifications for tag in each.tags)):
        assert checked_tag(tag) == tag
        assert not tag.startswith(f"{CONTROL}:")
    assert not set(routing.audience) & set(given_event.tags)
    assert set_of(rules).route(given_event).audience == routing.audience
    assert set_of(rules).route(given_event).notifications == routing.notifications
    explained = explain(rule_set, given_event)
    assert {row["tag"] for row in explained["audience"]} == {*given_event.tags, *routing.audience}
    assert all(row["because"] for row in explained["audience"])
    json.dumps(explained)


@settings(max_examples=60, deadline=None)
@given(rules=rules_strategy, given_event=events)
def test_the_index_overlooks_no_rule(rules: list[dict[str, Any]], given_event: Event) -> None:
    """A rule alone in its set has nothing that could hide it: together they do the same."""
    together = set_of(rules)
    alone = [
        outcome
        for rule in together.rules
        if fits(rule, given_event.type, given_event.source, given_event.subject)
        for outcome in RuleSet([rule]).outcomes(given_event)
        if outcome.matched
    ]
    matched = list(together.route(given_event).matched)
    assert [each.rule.name for each in matched] == [each.rule.name for each in alone]
    assert added_tags(given_event, alone) == together.route(given_event).audience
