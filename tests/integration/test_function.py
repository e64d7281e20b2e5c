"""Ingest as a function: what gateways make of requests in, answers out, and connections that outlive invocations."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from infra.local.servers import MongoServer, RabbitServer
from services.ingest import function as module
from services.ingest.function import IDLE_S, Function
from shared.model.errors import InvalidInput
from shared.model.event import Event
from shared.model.settings import Settings
from tests.harness.gateway import KINDS, answered, request
from tests.harness.platform import PATIENT
from tests.proxy import Proxy, proxy_before

KEY = {"Authorization": "Bearer key"}
STRUCTURED = KEY | {"Content-Type": "application/cloudevents+json"}
ATTRIBUTES: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}

Result = TypeVar("Result")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def embedded(**settings: object) -> Settings:
    return Settings.load(backends="embedded", producer_keys="shop=key", **settings)


@pytest.fixture
def function() -> Iterator[Function]:
    opened = Function(embedded())
    yield opened
    opened.close()


def called(function: Function, kind: str, headers: dict[str, str], body: bytes, **options: Any) -> tuple[int, Any]:
    """(status, document) of a publish."""
    status, given, answer = answered(function(request(kind, "POST", "/v1/events", headers, body, **options), None))
    assert given["content-type"] in ("application/json", "application/problem+json")
    return status, json.loads(answer)


def published(function: Function) -> list[Event]:
    async def take() -> list[Event]:
        async with function.backends.broker.intake(100) as intake:
            return [Event.from_json(arrival.body) for arrival in await intake.batch(100, 0.05)]

    return function._loop.run_until_complete(take())


@pytest.mark.parametrize("base64_", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_gateway_in_every_mode(function: Function, kind: str, base64_: bool) -> None:
    structured = json.dumps(ATTRIBUTES | {"id": "structured", "data": {"text": "grüße 🔔"}}).encode()
    status, document = called(function, kind, STRUCTURED, structured, base64_=base64_)
    assert (status, document["accepted"][0]["id"]) == (202, "structured")
    binary = KEY | {f"ce-{name}": value for name, value in (ATTRIBUTES | {"id": "binary"}).items()}
    binary |= {"Content-Type": "text/plain", "ce-subject": "gr%C3%BC%C3%9Fe"}
    assert called(function, kind, binary, "zwei\nZeilen ü".encode(), base64_=base64_)[0] == 202
    batch = KEY | {"Content-Type": "application/cloudevents-batch+json"}
    body = json.dumps([ATTRIBUTES | {"id": "batched"}, {}]).encode()
    assert called(function, kind, batch, body, base64_=base64_)[0] == 207
    first, second, third = published(function)
    assert first.data == {"text": "grüße 🔔"}
    assert (second.data, second.subject) == ("zwei\nZeilen ü", "grüße")
    assert third.id == "batched"


def test_bytes_that_are_no_text_come_in_as_base64(function: Function) -> None:
    body = bytes(range(256))
    headers = KEY | {f"ce-{name}": value for name, value in ATTRIBUTES.items()} | {"Content-Type": "image/png"}
    assert called(function, "http_api_2", headers, body, base64_=True)[0] == 202
    (event,) = published(function)
    assert base64.b64decode(event.data_base64 or "") == body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("headers", "body", "status", "field"),
    [
        ({}, b"{}", 401, "Authorization"),
        (KEY, b"{}", 415, "Content-Type"),
        (STRUCTURED, b"{", 400, "body"),
        (STRUCTURED, b"x" * 300_000, 413, "body"),
    ],
)
def test_refusals_are_problem_documents_in_plain_text(
    function: Function, kind: str, headers: dict[str, str], body: bytes, status: int, field: str
) -> None:
    answer = function(request(kind, "POST", "/v1/events", headers, body), None)
    assert answer["isBase64Encoded"] is False, "a client would get base64 where the gateway does not decode it"
    found, given, document = answered(answer)
    assert (found, json.loads(document)["field"]) == (status, field)
    assert given["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", KINDS)
def test_other_addresses_are_there_too(function: Function, kind: str) -> None:
    assert answered(function(request(kind, "GET", "/readyz"), None))[0] == 200
    consent = request(kind, "OPTIONS", "/v1/events", {"WebHook-Request-Origin": "a.example"})
    status, headers, _ = answered(function(consent, None))
    assert (status, headers["webhook-allowed-origin"]) == (200, "a.example")
    assert answered(function(request(kind, "POST", "/v1/publish/user:alice", KEY, b"Hello"), None))[0] == 202


@pytest.mark.parametrize("kind", ["rest_api", "http_api_2"])
def test_a_stage_in_the_path_is_taken_off(kind: str) -> None:
    function = Function(embedded(function_base_path="/live"))
    try:
        body = json.dumps(ATTRIBUTES).encode()
        assert answered(function(request(kind, "POST", "/live/v1/events", STRUCTURED, body), None))[0] == 202
    finally:
        function.close()


def test_the_handler_opens_once_for_all_invocations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Settings] = []

    class Counted(Function):
        def __init__(self, settings: Settings) -> None:
            made.append(settings)
            super().__init__(settings)

    monkeypatch.setattr(module, "Function", Counted)
    monkeypatch.setattr(module, "_function", None)
    monkeypatch.setattr("shared.telemetry.logs.set_up", lambda settings: None)
    for name, value in {"BACKENDS": "embedded", "DATA_DIR": str(tmp_path), "PRODUCER_KEYS": "shop=key"}.items():
        monkeypatch.setenv(f"CARILLON_{name}", value)
    try:
        for number in range(3):
            body = json.dumps(ATTRIBUTES | {"id": str(number)}).encode()
            assert (
                answered(module.handler(request("http_api_2", "POST", "/v1/events", STRUCTURED, body), None))[0] == 202
            )
        assert len(made) == 1
    finally:
        assert module._function is not None
        module._function.close()


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(InvalidInput, match="CARILLON_FUNCTION_BASE_PATH"):
        embedded(function_base_path="live")


# On real servers: what is open stays open, and what a pause has cut is opened again.


class InThread:
    """A proxy on a loop of its own: the function runs its loop only while it is invoked."""

    def __init__(self, server_port: int) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._opened = proxy_before(server_port)
        self.proxy: Proxy = self.run(self._opened.__aenter__())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def do(self, act: Callable[[], None]) -> None:
        async def now() -> None:
            act()

        self.run(now())

    def close(self) -> None:
        self.run(self._opened.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()


@pytest.fixture
def before_rabbitmq(rabbitmq: RabbitServer) -> Iterator[InThread]:
    before = InThread(rabbitmq.port)
    yield before
    before.close()


@pytest.fixture
def frozen(
    before_rabbitmq: InThread, rabbitmq: RabbitServer, mongodb: MongoServer
) -> Iterator[tuple[Function, Clock, InThread]]:
    name, clock = f"t{uuid4().hex[:10]}", Clock()
    settings = Settings.load(
        amqp_url=rabbitmq.url.replace(f":{rabbitmq.port}", f":{before_rabbitmq.proxy.port}"),
        mongo_url=mongodb.url,
        mongo_database=name,
        namespace=name,
        producer_keys="shop=key",
        **PATIENT,
    )
    opened = Function(settings, clock)
    yield opened, clock, before_rabbitmq
    opened.close()


def publish(function: Function, number: int) -> int:
    return called(function, "http_api_2", STRUCTURED, json.dumps(ATTRIBUTES | {"id": str(number)}).encode())[0]


@pytest.mark.servers
def test_connections_are_used_again(frozen: tuple[Function, Clock, InThread]) -> None:
    function, _, before = frozen
    assert publish(function, 0) == 202
    connections = before.proxy.attempts
    assert [publish(function, number) for number in range(1, 30)] == [202] * 29
    assert before.proxy.attempts == connections


@pytest.mark.servers
def test_connections_that_did_not_outlive_a_pause_cost_no_request(frozen: tuple[Function, Clock, InThread]) -> None:
    function, clock, before = frozen
    assert publish(function, 0) == 202
    for number in range(1, 4):
        before.do(before.proxy.cut)
        clock.now += IDLE_S + 1
        assert publish(function, number) == 202
    assert before.proxy.attempts > 3
