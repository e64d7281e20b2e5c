"""`POST /v1/webhooks/<source>`, from the request to the log: answers, duplicates, refusals, reloading, fuzz."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.ingest.webhooks.sources import SourcesFile
from tests.eventually import answered
from tests.harness.asgi import Answer
from tests.harness.own_ingest import OwnIngest, own_ingest

SECRET = "hunter2-hunter2-hunter2"
FILE = """
sources:
  github: {kind: github, secret: {env: HOOK_SECRET}, audience: topic:builds}
  stripe: {kind: stripe, secret: {env: HOOK_SECRET}, test_events: drop}
  billing: {kind: standard-webhooks, secret: {env: STANDARD_SECRET}}
  slack:
    kind: hmac
    secret: {env: HOOK_SECRET}
    header: X-Slack-Signature
    prefix: v0=
    signed: "v0:{timestamp}:{body}"
    timestamp: {header: X-Slack-Request-Timestamp}
  basic: {kind: basic, user: sender, secret: {env: HOOK_SECRET}, id: {header: X-Id}}
  bearer: {kind: bearer, secret: {env: HOOK_SECRET}}
  local: {kind: none}
"""
KINDS = ("github", "stripe", "billing", "slack", "basic", "bearer", "local")
NAMED = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "d-1", "X-Id": "x-1"}
JSON = {"Content-Type": "application/json"}
BODY = b'{"action": "opened", "id": "evt_1", "type": "order.paid", "livemode": true}'
MAX_BYTES = 20_000
# What senders show who sign nothing.
SHOWN = {
    "basic": {"Authorization": "Basic " + base64.b64encode(f"sender:{SECRET}".encode()).decode()},
    "bearer": {"Authorization": f"Bearer {SECRET}"},
    "local": {},
}


class Hooks:
    """An ingest with these sources."""

    def __init__(self, ingest: OwnIngest, file: Path) -> None:
        self.ingest, self.file = ingest, file

    def signed(self, source: str, body: bytes = BODY, now_s: float | None = None) -> dict[str, str]:
        """The headers of a sender who knows the secret."""
        if source in SHOWN:
            return {**JSON, **SHOWN[source]}
        scheme = SourcesFile(self.file).load()[source].scheme
        return {**JSON, **scheme.sign(body, "msg-1", time.time() if now_s is None else now_s)}

    def garbled(self, source: str) -> dict[str, str]:
        """All that is there, and none of it right."""
        return dict.fromkeys(self.signed(source), "x") | JSON

    async def post(self, source: str, headers: Mapping[str, str], body: bytes = BODY) -> Answer:
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        return await self.ingest.ask("POST", f"/v1/webhooks/{source}".encode(), body, raw, key=None)


@pytest.fixture
async def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hooks]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("STANDARD_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    file = tmp_path / "webhooks.yaml"
    file.write_text(FILE)
    async with own_ingest({"webhooks_file": file, "max_event_bytes": MAX_BYTES}) as ingest:
        yield Hooks(ingest, file)


@pytest.mark.parametrize("source", KINDS)
async def test_what_is_signed_is_in_the_log(hooks: Hooks, source: str) -> None:
    answer = await hooks.post(source, NAMED | hooks.signed(source))
    assert answer.status == 202, answer.body
    shown = json.loads(answer.body)
    [receipt] = shown["accepted"]
    [event] = await hooks.ingest.events(1)
    assert receipt == {"source": f"/webhooks/{source}", "id": event["id"], "duplicate": False}
    assert shown["traceparent"] == event["traceparent"]
    assert event["data"] == json.loads(BODY)
    assert SECRET not in json.dumps(event)


async def test_a_repeat_is_accepted_once_and_answered_with_the_same_id(hooks: Hooks) -> None:
    """A sender signs each try anew."""
    for source, id_ in (("github", "d-1"), ("billing", "msg-1"), ("stripe", "evt_1"), ("basic", "x-1")):
        answers = [
            await hooks.post(source, NAMED | hooks.signed(source, now_s=time.time() + late)) for late in (0, 1, 2)
        ]
        assert [answer.status for answer in answers] == [202] * 3
        receipts = [json.loads(answer.body)["accepted"][0] for answer in answers]
        assert {receipt["id"] for receipt in receipts} == {id_}
    assert [event["id"] for event in await hooks.ingest.events(4)] == ["d-1", "msg-1", "evt_1", "x-1"]


async def test_repeats_at_the_same_time_are_one_event(hooks: Hooks) -> None:
    headers = NAMED | hooks.signed("github")
    answers = await asyncio.gather(*(hooks.post("github", headers) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    await hooks.ingest.events(1)


# Answers to: nothing shown; another body; garbage; 301 s old; from the future.
REFUSED = {
    "github": [401, 401, 401, 202, 202],
    "stripe": [401, 401, 401, 401, 401],
    "billing": [401, 401, 401, 401, 401],
    "slack": [401, 401, 401, 401, 401],
    "basic": [401, 202, 401, 202, 202],
    "bearer": [401, 202, 401, 202, 202],
}


@pytest.mark.parametrize("source", REFUSED)
async def test_what_is_not_signed_is_refused_with_one_word(
    hooks: Hooks, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [
        await hooks.post(source, NAMED | JSON),
        await hooks.post(source, NAMED | hooks.signed(source), BODY[:-1] + b" }"),
        await hooks.post(source, NAMED | hooks.garbled(source)),
        await hooks.post(source, NAMED | hooks.signed(source, now_s=time.time() - 301)),
        await hooks.post(source, NAMED | hooks.signed(source, now_s=time.time() + 600)),
    ]
    assert [answer.status for answer in answers] == REFUSED[source]
    refusals = [answer.problem for answer in answers if answer.status == 401]
    assert {(refusal["field"], refusal["detail"]) for refusal in refusals} == {
        ("signature", "the request is not signed as this source signs, with its secret, and now")
    }
    assert all("www-authenticate" in answer.headers for answer in answers if answer.status == 401)
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 1 <= len(told) <= len(refusals)
    assert "header-missing" in told[0].getMessage()
    assert SECRET not in caplog.text
    assert SECRET not in str([answer.body for answer in answers])


async def test_who_sends_much_that_is_not_signed_does_not_fill_the_log(
    hooks: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert (await hooks.post("stripe", JSON)).status == 401
        assert (await hooks.post("slack", JSON)).status == 401
    told = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert sorted(line.split(" refused")[0] for line in told) == ["webhook of 'slack'", "webhook of 'stripe'"]


async def test_a_clock_that_is_wrong_is_told_to_the_log_only(hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    answer = await hooks.post("stripe", hooks.signed("stripe", now_s=time.time() - 301))
    assert answer.status == 401
    assert b"stale" not in answer.body
    assert "timestamp-stale" in caplog.text


async def test_none_is_for_loopback_and_not_for_what_was_forwarded(hooks: Hooks) -> None:
    forwarded = await hooks.post("local", JSON | {"X-Forwarded-For": "203.0.113.9"})
    assert (forwarded.status, forwarded.problem["field"]) == (403, "address")
    of_a_page = await hooks.post("local", JSON | {"Origin": "https://evil.example"})
    assert (of_a_page.status, of_a_page.problem["field"]) == (403, "origin")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/webhooks/local", "/v1/rpc", "/v1/publish/builds"])
async def test_a_packed_body_is_unpacked_at_no_door(hooks: Hooks, path: str) -> None:
    """Bytes that are no text were once kept as they came, and nothing said that they were packed."""
    attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.created"}
    named = {**attributes, "Content-Type": "application/octet-stream"}
    raw = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    packed = [*raw, (b"content-encoding", b"gzip")]
    refused = await hooks.ingest.ask("POST", path.encode(), gzip.compress(BODY), packed)
    assert (refused.status, refused.problem["field"]) == (415, "Content-Encoding")
    assert refused.headers["accept-encoding"] == "identity"
    as_it_is = await hooks.ingest.ask("POST", path.encode(), BODY, [*raw, (b"content-encoding", b"identity")])
    assert as_it_is.status == 202 or as_it_is.problem["field"] == "Content-Type"


async def test_the_order_of_the_checks(hooks: Hooks) -> None:
    """Size, media type, signature, timestamp, body: each is asked only after those before it."""
    everything_wrong = b"{" + b" " * MAX_BYTES
    asked = [
        await hooks.post("nobody", {}, everything_wrong),
        await hooks.post("stripe", {}, everything_wrong),
        await hooks.post("stripe", {"Content-Type": "text/plain"}, b"{"),
        await hooks.post("stripe", JSON, b"{"),
        await hooks.post("stripe", hooks.signed("stripe", b"{", now_s=0), b"{"),
        await hooks.post("stripe", hooks.signed("stripe", b"{"), b"{"),
        await hooks.post("stripe", hooks.signed("stripe", b"{}"), b"{}"),
        await hooks.post("stripe", hooks.signed("stripe")),
    ]
    assert [answer.status for answer in asked] == [404, 413, 415, 401, 401, 400, 400, 202]
    assert [answer.problem["field"] for answer in asked[:-1]] == [
        "source", "body", "Content-Type", "signature", "signature", "body", "body.id",
    ]  # fmt: skip


async def test_no_refusal_shows_the_body(hooks: Hooks) -> None:
    body = b'{"card": "4242424242424242", '
    for source in KINDS:
        answer = await hooks.post(source, NAMED | hooks.signed(source, body), body)
        assert answer.status == 400
        assert b"4242" not in answer.body


async def test_the_same_delivery_with_another_body_is_refused(hooks: Hooks) -> None:
    first = await hooks.post("github", NAMED | hooks.signed("github"))
    other = b'{"action": "closed"}'
    second = await hooks.post("github", NAMED | hooks.signed("github", other), other)
    assert (first.status, second.status, second.problem["field"]) == (202, 409, "id")
    assert b"closed" not in second.body
    [event] = await hooks.ingest.events(1)
    assert event["data"] == json.loads(BODY)


async def test_test_events_of_stripe_that_are_dropped_are_answered(hooks: Hooks) -> None:
    body = b'{"id": "evt_2", "type": "a", "livemode": false}'
    answer = await hooks.post("stripe", hooks.signed("stripe", body), body)
    assert (answer.status, json.loads(answer.body)["accepted"]) == (200, [])
    assert (await hooks.post("stripe", hooks.signed("stripe"))).status == 202
    assert [event["id"] for event in await hooks.ingest.events(1)] == ["evt_1"]


async def test_a_broker_that_is_away_is_no_202(hooks: Hooks) -> None:
    hooks.ingest.switch.is_away = True
    answer = await hooks.post("github", NAMED | hooks.signed("github"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    hooks.ingest.switch.is_away = False
    assert (await hooks.post("github", NAMED | hooks.signed("github"))).status == 202
    await hooks.ingest.events(1)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", b"/v1/webhooks/github", 405),
        ("PUT", b"/v1/webhooks/github", 405),
        ("POST", b"/v1/webhooks/github/", 404),
        ("POST", b"/v1/webhooks/", 404),
        ("POST", b"/v1/webhooks", 404),
        ("POST", b"//v1/webhooks/github", 401),
        ("POST", b"/v1//webhooks//github", 404),
        ("POST", b"/v1/webhooks/GitHub", 404),
        ("POST", b"/v1/webhooks/%00", 404),
        ("POST", b"/v1/webhooks/..%2F..%2Fetc", 404),
        ("POST", b"/v1/webhooks/" + b"x" * 5000, 404),
    ],
)
async def test_other_addresses_lead_nowhere_else(hooks: Hooks, method: str, target: bytes, status: int) -> None:
    """Never a redirect: senders count one as a failure."""
    answer = await hooks.ingest.ask(method, target, BODY, [(b"content-type", b"application/json")], key=None)
    assert answer.status == status
    assert "location" not in answer.headers


async def test_without_a_file_the_answer_says_how_to_declare_a_source() -> None:
    async with own_ingest() as ingest:
        answer = await ingest.ask("POST", b"/v1/webhooks/github", BODY, [(b"content-type", b"application/json")])
    assert answer.status == 404
    assert "CARILLON_WEBHOOKS_FILE" in answer.problem["fix"]


async def test_sources_come_and_go_without_a_restart(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.reloading.LOOK_EVERY_S", 0.01)
    changed = FILE.replace("  local:", "  new: {kind: none}\n  local:")
    hooks.file.write_text(changed)

    async def answers(source: str) -> int:
        return (await hooks.post(source, JSON)).status

    await status_becomes(answers, "new", 202)
    hooks.file.write_text("sources: {")
    await eventually_degraded(hooks)
    assert await answers("new") == 202
    hooks.file.write_text(FILE)
    await status_becomes(answers, "new", 404)


async def eventually_degraded(hooks: Hooks) -> None:
    async def look() -> None:
        answer = await hooks.ingest.ask("GET", b"/readyz")
        assert json.loads(answer.body)["status"] == "degraded"
        assert f"{hooks.file}:1" in json.loads(answer.body)["checks"]["webhooks"]

    await answered(look, AssertionError)


async def status_becomes(answers: Any, source: str, status: int) -> None:
    async def look() -> None:
        assert await answers(source) == status

    await answered(look, AssertionError)


NAMES = (
    "content-type", "content-encoding", "content-length", "transfer-encoding", "authorization", "x-hub-signature-256",
    "x-github-event", "x-github-delivery", "stripe-signature", "webhook-id", "webhook-timestamp", "webhook-signature",
    "x-slack-signature", "x-slack-request-timestamp", "x-id", "traceparent", "tracestate", "x-forwarded-for",
)  # fmt: skip
values = st.one_of(
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain; charset=x", "a/b; =;"]),
    st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=40),
    st.text(alphabet=",=. v1at0", max_size=40),
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda children: (
            st.lists(children) | st.dictionaries(st.sampled_from(["id", "type", "action", "payload"]), children)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=30).map(lambda raw: b"payload=" + raw),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    source="billing", is_signed=False, headers={"webhook-id": "\xff", "webhook-signature": "v1a,\xff"}, body=b"\xff"
)
@given(
    source=st.sampled_from([*KINDS, "nobody"]),
    is_signed=st.booleans(),
    headers=st.dictionaries(st.sampled_from(NAMES), values, max_size=6),
    body=bodies,
)
async def test_whatever_is_posted_the_answer_is_in_order(
    hooks: Hooks, source: str, is_signed: bool, headers: dict[str, str], body: bytes
) -> None:
    """Half of the requests are signed, so that what comes after the signature is met as well."""
    signed = hooks.signed(source, body) if is_signed and source in KINDS else {}
    answer = await hooks.post(source, {**headers, **signed}, body)
    assert answer.status in (200, 202, 400, 401, 403, 404, 409, 413, 415)
    if answer.status >= 400:
        assert answer.problem["field"]
    assert SECRET.encode() not in answer.body
