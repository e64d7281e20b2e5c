"""`POST /v1/rpc`, from the request to the log, on the embedded backends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest import reception
from services.ingest.reception import Reception
from services.ingest.rpc import amqp, openrpc
from services.ingest.rpc.examples import EXAMPLES
from services.ingest.rpc.methods import METHODS, PUBLISHING
from shared.model.errors import BrokerUnavailable
from shared.model.event import Event
from shared.model.producer import Producer
from tests.eventually import eventually
from tests.harness.asgi import Answer
from tests.harness.own_ingest import OTHER_KEY, OwnIngest, own_ingest
from tests.harness.turns import turns_of_others

JSON = [(b"content-type", b"application/json")]
NOTE = {"user": "alice", "title": "Hi"}


@pytest.fixture
async def own() -> AsyncIterator[OwnIngest]:
    async with own_ingest({"max_event_bytes": 4096}) as running:
        yield running


def a_call(method: str, params: Any = None, **members: Any) -> dict[str, Any]:
    """A call with the id 1, unless it is given another."""
    return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params}) | {"id": 1} | members


def a_notification(method: str, params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def post(own: OwnIngest, body: Any, headers: Any = (), **options: Any) -> Answer:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await own.ask("POST", b"/v1/rpc", sent, [*JSON, *headers], **options)


async def result(own: OwnIngest, body: Any, headers: Any = (), **options: Any) -> Any:
    answer = await post(own, body, headers, **options)
    assert answer.status == 200, answer
    said = json.loads(answer.body)
    assert "result" in said, said
    return said["result"]


async def error(own: OwnIngest, body: Any, **options: Any) -> dict[str, Any]:
    said = json.loads((await post(own, body, **options)).body)
    found: dict[str, Any] = said["error"]
    return found


async def test_a_call_is_an_event_in_the_log(own: OwnIngest) -> None:
    receipt = await result(own, a_call("notify.user", NOTE))
    (entry,) = await own.entries(1)
    assert (entry.source, entry.id, entry.traceparent) == (receipt["source"], receipt["id"], receipt["traceparent"])
    assert (entry.type, entry.audience) == ("notification.sent", ("user:alice",))
    assert receipt["source"] == "/producers/shop"
    assert receipt["duplicate"] is False
    assert json.loads(entry.event)["data"] == {"title": "Hi", "level": "info"}


async def test_the_trace_of_the_request_is_the_events(own: OwnIngest) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    receipt = await result(own, a_call("notify.user", NOTE), [(b"traceparent", parent.encode())])
    assert receipt["traceparent"].split("-")[1] == parent.split("-")[1]


async def test_every_method_does_what_its_example_says(own: OwnIngest) -> None:
    results = [await result(own, a_call(method, params)) for method, params in EXAMPLES.items()]
    events = await own.events(len(PUBLISHING))
    assert [event["id"] for event in events] == [each["id"] for each in results[: len(PUBLISHING)]]
    assert results[-1] == openrpc.document()
    assert list(METHODS)[-2:] == ["event.dryRun", "rpc.discover"], "these two publish nothing"


async def test_others_get_their_turn_while_a_batch_is_looked_at(
    own: OwnIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred dry runs, each of all that rules may cost, once held everybody up for seconds."""
    seen = []

    def admit(self: Reception, event: Event, producer: Producer) -> None:
        seen.append(turns())

    monkeypatch.setattr(Reception, "admit", admit)
    with turns_of_others() as turns:
        await post(own, [a_call("event.dryRun", {"type": "order.created"}) for _ in range(20)])
    assert len(set(seen)) == 20


RULES = """
rules:
  - name: order.late
    match: {type: order.created, when: data.total > `10`}
    audience: topic:orders
    notify: {title: "An order of {{ data.total }}"}
"""


async def test_a_dry_run_says_who_and_why_and_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    async with own_ingest({"rules": str(tmp_path / "rules.yaml")}) as own:
        order = {"type": "order.created", "audience": "user:alice", "data": {"total": 12}}
        said = await result(own, a_call("event.dryRun", order))
        assert [each["tag"] for each in said["audience"]] == ["user:alice", "topic:orders"]
        assert [each["because"] for each in said["audience"]][1] == ["rule order.late: topic:orders"]
        assert [each["data"]["title"] for each in said["notifications"]] == ["An order of 12"]
        await result(own, a_call("notify.user", NOTE))
        await own.entries(1)
        await result(own, a_call("event.publish", order))
        assert [entry.type for entry in await own.entries(3)][1:] == ["order.created", "notification.sent"]


async def test_a_dry_run_refuses_what_a_publish_would(own: OwnIngest) -> None:
    found = await error(own, a_call("event.dryRun", {"type": "a", "audience": "control:a"}))
    assert (found["code"], found["data"]["field"]) == (-32602, "audience")


async def test_a_batch_is_answered_in_order_and_published_in_order(own: OwnIngest) -> None:
    calls = [a_call("job.progress", {"job": "7", "audience": "user:alice", "progress": n}, id=n) for n in range(20)]
    answer = await post(own, [*calls, a_notification("notify.user", NOTE), 1, a_call("nope", id="x")])
    said = json.loads(answer.body)
    assert [each["id"] for each in said] == [*range(20), None, "x"]
    assert [each.get("error", {}).get("code") for each in said] == [None] * 20 + [-32600, -32601]
    events = await own.events(21)
    assert [event["data"].get("progress") for event in events] == [*range(20), None]
    assert [each["result"]["id"] for each in said[:20]] == [event["id"] for event in events[:20]]


async def test_notifications_are_carried_out_and_not_answered(own: OwnIngest, caplog: pytest.LogCaptureFixture) -> None:
    for body in (a_notification("notify.user", NOTE), [a_notification("notify.user", NOTE)] * 2):
        answer = await post(own, body)
        assert (answer.status, answer.body) == (204, b"")
        assert "content-type" not in answer.headers
    await own.entries(3)
    with caplog.at_level(logging.WARNING):
        assert (await post(own, a_notification("notify.user", {"user": "alice"}))).status == 204
        for _ in range(3):
            assert (await post(own, a_notification("nope", {}))).status == 204
    refusals = [record.getMessage() for record in caplog.records if "notification" in record.getMessage()]
    assert len(refusals) == 2, "nobody else hears of them, and one that repeats itself does not fill the log"
    await own.entries(3)


async def test_a_key_makes_it_the_same_event(own: OwnIngest) -> None:
    keyed = a_call("notify.user", NOTE | {"idempotency_key": "k"})
    first = await result(own, keyed)
    await own.entries(1)
    again = await result(own, keyed)
    assert again == first | {"duplicate": True}, "the answer to a duplicate names the first one"
    others = [
        await result(own, keyed, key=OTHER_KEY),
        await result(own, a_call("notify.user", NOTE | {"idempotency_key": "l"})),
        await result(own, a_call("notify.user", NOTE)),
        await result(own, a_call("notify.user", NOTE)),
    ]
    assert len({first["id"]} | {each["id"] for each in others}) == 5
    await own.entries(5)


async def test_the_header_is_the_key_of_all_that_bring_none(own: OwnIngest) -> None:
    header = [(b"idempotency-key", b'"k-1"')]
    first = await result(own, a_call("notify.user", NOTE), header)
    await own.entries(1)
    assert (await result(own, a_call("notify.user", NOTE), header))["duplicate"]
    assert (await result(own, a_call("notify.user", NOTE), [(b"idempotency-key", b"k-1")]))["id"] == first["id"]
    named = a_call("event.publish", {"type": "a", "id": "own"})
    assert (await result(own, named, header))["id"] == "own"

    batch = [a_call("notify.user", NOTE), a_call("notify.user", NOTE | {"idempotency_key": "k"})]
    ids = [[each["result"]["id"] for each in json.loads((await post(own, batch, header)).body)] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len({*ids[0]}) == 2
    answer = await post(own, a_call("notify.user", NOTE), [(b"idempotency-key", b"")])
    assert (answer.status, answer.problem["field"]) == (400, "Idempotency-Key")


async def test_a_key_with_other_words_is_a_conflict(own: OwnIngest) -> None:
    await result(own, a_call("notify.user", NOTE | {"idempotency_key": "k"}))
    found = await error(own, a_call("notify.user", NOTE | {"idempotency_key": "k", "title": "Other"}))
    assert (found["code"], found["data"]["field"]) == (-32002, "id")
    assert found["data"]["fix"]
    await own.entries(1)


async def test_what_is_no_event_names_its_attribute(own: OwnIngest) -> None:
    for params, field in (
        ({"type": "a\nb"}, "type"),
        ({"type": "snapshot"}, "type"),
        ({"type": "a", "time": "noon"}, "time"),
        ({"type": "a", "data": 1, "data_base64": "AA=="}, "event"),
        ({"type": "a", "extensions": {"Upper": 1}}, "event"),
        ({"type": "a", "final": "maybe"}, "final"),
        ({"type": "a", "audience": "control:alice"}, "audience"),
        ({"type": "a", "data": "x" * 4097}, "body"),
    ):
        found = await error(own, a_call("event.publish", params))
        assert (found["code"], found["data"]["field"]) == (-32602, field), params
        assert found["data"]["fix"]
    await result(own, a_call("notify.user", NOTE))
    await own.entries(1)


async def test_without_the_broker_a_lone_call_is_503_with_its_error(own: OwnIngest) -> None:
    own.switch.is_away = True
    answer = await post(own, a_call("notify.user", NOTE))
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    said = json.loads(answer.body)
    assert (said["id"], said["error"]["code"], said["error"]["data"]["retry_after_s"]) == (1, -32001, 2)
    assert "inner.example" not in answer.body.decode(), "the adapter's words are not for callers"

    notification = await post(own, a_notification("notify.user", NOTE))
    assert (notification.status, notification.body) == (503, b""), "not answered, and not confirmed either"
    assert notification.headers["retry-after"] == "2"

    batch = await post(own, [a_call("notify.user", NOTE), a_call("rpc.discover", id=2)])
    assert batch.status == 200
    assert [each.get("error", {}).get("code") for each in json.loads(batch.body)] == [-32001, None]

    own.switch.is_away = False
    await result(own, a_call("notify.user", NOTE))
    await own.entries(1)


async def test_by_way_of_the_broker_calls_are_told_and_notifications_wait(
    own: OwnIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "RETRY_S", 0.05)
    own.switch.is_away = True
    told = json.loads(await own.backends.broker.call(json.dumps(a_call("notify.user", NOTE)).encode(), 5))
    assert told["error"]["code"] == -32001
    for body in (a_notification("notify.user", NOTE), [a_notification("notify.user", NOTE)] * 2):
        with pytest.raises(BrokerUnavailable):
            await own.backends.broker.call(json.dumps(body).encode(), 0.2)
    own.switch.is_away = False
    entries = await own.entries(3)
    assert {entry.source for entry in entries} == {"/producers/amqp"}


async def test_whatever_comes_by_way_of_the_broker_is_answered(own: OwnIngest) -> None:
    for body in (b"", b"\xff", b"[1]", b"x" * 2_000_000, json.dumps(a_call("nope")).encode()):
        said = json.loads(await own.backends.broker.call(body, 5))
        assert (said[0] if isinstance(said, list) else said)["error"]["code"] in (-32700, -32600, -32601)


async def test_over_the_bound_of_places_calls_are_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reception, "MAX_PUBLISHES_IN_FLIGHT", 3)
    async with own_ingest() as own:
        own.switch.may_confirm.clear()
        waiting = asyncio.create_task(post(own, [a_call("notify.user", NOTE, id=n) for n in range(3)]))
        await eventually(lambda: own.switch.under_way == 3)
        assert (await post(own, a_call("notify.user", NOTE))).status == 503
        own.switch.may_confirm.set()
        assert all("result" in each for each in json.loads((await waiting).body))
        await own.entries(3)


async def test_a_bug_is_an_internal_error_that_shows_nothing(
    own: OwnIngest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(own.switch, "publish", broken)
    answer = await post(own, [a_call("notify.user", NOTE), a_call("rpc.discover", id=2)])
    first, second = json.loads(answer.body)
    assert (answer.status, first["error"]["code"]) == (200, -32603)
    assert "secret" not in answer.body.decode()
    assert "result" in second
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("headers", "body", "key", "status"),
    [
        (JSON, b"{", None, 401),
        (JSON, b"{", "wrong", 401),
        (JSON, b"x" * 2_000_000, "key", 413),
        ([(b"content-type", b"text/plain")], b"{}", "key", 415),
        ([(b"content-type", b"application/json; charset=latin-1")], b"{}", "key", 415),
        ([(b"content-type", b"application/json; charset=utf-8")], b"{}", "key", 200),
        ([(b"content-type", b"application/json-rpc")], b"{}", "key", 200),
        ([], b"{}", "key", 200),
    ],
)
async def test_what_http_refuses_is_a_problem_document(
    own: OwnIngest, headers: Any, body: bytes, key: str | None, status: int
) -> None:
    answer = await own.ask("POST", b"/v1/rpc", body, headers, key)
    assert answer.status == status
    assert answer.problem if status >= 400 else json.loads(answer.body)["error"]["code"] == -32600


async def test_the_description_is_served_to_anybody(own: OwnIngest) -> None:
    answer = await own.ask("GET", openrpc.PATH.encode(), key=None)
    assert (answer.status, json.loads(answer.body)) == (200, openrpc.document())
    assert (await own.ask("GET", b"/v1/rpc")).status == 405


calls = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from(sorted(METHODS))},
    optional={
        "id": st.one_of(st.none(), st.integers(), st.text(max_size=5)),
        "params": st.dictionaries(
            st.sampled_from(sorted({name for model in METHODS.values() for name in model.model_fields})),
            st.recursive(
                st.one_of(
                    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
                    st.text(max_size=20), st.sampled_from(["user:alice", "everyone", "a.b", "/s", "k", "1.0"]),
                ),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                max_leaves=6,
            ),
            max_size=8,
        ),
    },
)  # fmt: skip
bodies = st.one_of(
    st.binary(max_size=100),
    st.one_of(calls, st.lists(calls | st.integers(), max_size=6)).map(json.dumps).map(str.encode),
)


@settings(
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=bodies)
async def test_any_bytes_have_a_lawful_answer(own: OwnIngest, body: bytes) -> None:
    answer = await post(own, body)
    assert answer.status in (200, 204), answer
    if answer.status == 204:
        assert answer.body == b""
        return
    said = json.loads(answer.body)
    for each in said if isinstance(said, list) else [said]:
        assert each["jsonrpc"] == "2.0"
        assert ("result" in each) != ("error" in each)
        assert each.get("error", {}).get("code") != -32603, each
