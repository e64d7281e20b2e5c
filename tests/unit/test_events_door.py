"""`POST /v1/events` as its clients see it: batches, their answers, and the consent that senders ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.ingest import handshake, reception
from shared.web.problem import CONTENT_TYPE
from tests.eventually import eventually
from tests.harness.switched import KEY, SwitchedBackends, open_switched

BATCH = KEY | {"Content-Type": "application/cloudevents-batch+json"}
ATTRIBUTES: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}


@pytest.fixture
async def backends() -> AsyncIterator[SwitchedBackends]:
    async with open_switched() as opened:
        yield opened


def numbered(*ids: int, **attributes: Any) -> list[Any]:
    return [ATTRIBUTES | {"id": str(number)} | attributes for number in ids]


async def sent(backends: SwitchedBackends, batch: object, **settings: Any) -> tuple[int, Any, Any]:
    """(status, document, headers)."""
    client = backends.app(**settings).test_client()
    answer = await client.post("/v1/events", headers=BATCH, data=json.dumps(batch))
    return answer.status_code, await answer.get_json(force=True), answer.headers


async def test_a_batch_answers_for_each_event(backends: SwitchedBackends) -> None:
    status, document, _ = await sent(backends, [*numbered(1, 2), *numbered(1)])
    assert status == 202
    assert [(one["source"], one["id"], one["duplicate"]) for one in document["accepted"]] == [
        ("/shop", "1", False), ("/shop", "2", False), ("/shop", "1", True),
    ]  # fmt: skip
    contexts = [one["traceparent"] for one in document["accepted"]]
    assert contexts == [backends.published[0].traceparent, backends.published[1].traceparent, contexts[0]]
    assert "refused" not in document


async def test_an_empty_batch_is_accepted(backends: SwitchedBackends) -> None:
    assert (await sent(backends, []))[:2] == (202, {"accepted": []})


async def test_what_is_refused_is_named_by_its_place_and_the_rest_is_accepted(backends: SwitchedBackends) -> None:
    batch = [*numbered(1), 7, *numbered(2, type="bad\ntype"), *numbered(1, data="other"), *numbered(3)]
    status, document, _ = await sent(backends, batch)
    assert status == 207
    assert [one["id"] for one in document["accepted"]] == ["1", "3"]
    refused = document["refused"]
    assert [(one["index"], one["status"], one.get("id"), one["field"]) for one in refused] == [
        (1, 400, None, "event"), (2, 400, "2", "type"), (3, 409, "1", "id"),
    ]  # fmt: skip
    assert all(one["detail"] and one["fix"] for one in refused)
    assert [event.id for event in backends.published] == ["1", "3"]


@pytest.mark.parametrize(
    ("batch", "status", "each"),
    [
        (numbered(1, 2, type=""), 400, [400, 400]),
        (numbered(1, audience="control:alice"), 400, [400]),
        ([*numbered(1, data="x" * 5000)], 413, [413]),
        ([*numbered(1, data="x" * 5000), 7], 400, [413, 400]),
        ([{}] * 3, 400, [400, 400, 400]),
    ],
)
async def test_where_nothing_is_accepted_the_status_says_why(
    backends: SwitchedBackends, batch: list[Any], status: int, each: list[int]
) -> None:
    found, document, headers = await sent(backends, batch)
    assert (found, headers["Content-Type"]) == (status, CONTENT_TYPE)
    assert document["detail"] == f"{len(batch)} of {len(batch)} events are refused"
    assert (document["accepted"], [one["status"] for one in document["refused"]]) == ([], each)
    assert backends.published == []


async def test_a_broker_that_is_away_is_503_for_all_and_the_same_batch_again_completes_it(
    backends: SwitchedBackends,
) -> None:
    await backends.append_all(numbered(1))
    backends.broker_away = True
    status, document, headers = await sent(backends, [*numbered(1, 2), 7])
    assert (status, int(headers["Retry-After"]) > 0) == (503, True)
    assert [one["id"] for one in document["accepted"]] == ["1"], "the duplicate is"
    assert [one["status"] for one in document["refused"]] == [503, 400]
    backends.broker_away = False
    status, document, _ = await sent(backends, numbered(1, 2))
    assert (status, [one["duplicate"] for one in document["accepted"]]) == (202, [True, False])


@pytest.mark.parametrize("wrong", [7, numbered(1, type="")[0], numbered(1, data="x" * 5000)[0]])
async def test_all_or_nothing_is_a_setting(backends: SwitchedBackends, wrong: object) -> None:
    status, document, _ = await sent(backends, [*numbered(2), wrong], batch_accept="all-or-nothing")
    assert status in (400, 413)
    assert [one["status"] for one in document["refused"]] == [424, status]
    assert backends.published == []
    status, document, _ = await sent(backends, numbered(2), batch_accept="all-or-nothing")
    assert status == 202


async def test_a_batch_over_its_bounds_is_413(backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await sent(backends, [0] * 501))[0] == 413
    monkeypatch.setattr("services.ingest.http_binding.MAX_BATCH_BYTES", 5000)
    assert (await sent(backends, numbered(1, data="x" * 5000)))[:1] == (413,)


async def test_too_many_at_once_are_503(backends: SwitchedBackends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "MAX_PUBLISHES_IN_FLIGHT", 3)
    client = backends.app().test_client()
    backends.broker_may_confirm.clear()
    first = asyncio.create_task(client.post("/v1/events", headers=BATCH, data=json.dumps(numbered(1, 2))))
    await eventually(lambda: backends.under_way == 2)
    answer = await client.post("/v1/events", headers=BATCH, data=json.dumps(numbered(3, 4)))
    document = await answer.get_json(force=True)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert {one["status"] for one in document["refused"]} == {503}
    backends.broker_may_confirm.set()
    assert (await first).status_code == 202


# Consent: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection


@pytest.mark.parametrize("path", ["/v1/events", "/v1/webhooks/anything"])
async def test_consent_is_given_to_who_asks(backends: SwitchedBackends, path: str) -> None:
    asked = {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "120"}
    answer = await backends.app().test_client().options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "eventemitter.example.com"
    assert answer.headers["WebHook-Allowed-Rate"] == "*"
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


async def test_without_the_question_options_are_those_of_http(backends: SwitchedBackends) -> None:
    answer = await backends.app().test_client().options("/v1/events")
    assert (answer.status_code, "WebHook-Allowed-Origin" in answer.headers) == (200, False)
    elsewhere = {"WebHook-Request-Origin": "eventemitter.example.com"}
    assert (
        "WebHook-Allowed-Origin"
        not in (await backends.app().test_client().options("/healthz", headers=elsewhere)).headers
    )


@pytest.mark.parametrize(
    ("origin", "rate", "said"),
    [
        ("a.example", None, ("a.example", "*")),
        ("a.example", 2.0, ("a.example", "120")),
        ("a.example", 0.001, ("a.example", "1")),
        ("*", None, ("*", "*")),
        ("", None, ("*", "*")),
        ("a b", None, ("*", "*")),
        ("ä.example", None, ("*", "*")),
        ("x" * 256, None, ("*", "*")),
    ],
)
def test_consent(origin: str, rate: float | None, said: tuple[str, str]) -> None:
    headers = handshake.consent(origin, rate)
    assert (headers["WebHook-Allowed-Origin"], headers["WebHook-Allowed-Rate"]) == said
