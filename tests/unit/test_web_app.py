"""Problem documents, health and body limits of the app that every service starts from."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from quart import Blueprint, Quart, abort, request

from shared.model.errors import BrokerUnavailable, EventTooLarge, InvalidEvent, LogUnavailable
from shared.model.settings import Settings
from shared.web import app as app_module
from shared.web.app import MAX_BODY_BYTES, drop_body, limited_body, make_app
from shared.web.problem import CONTENT_TYPE, Refusal
from tests.eventually import eventually

ERRORS: dict[str, Exception] = {
    "invalid": InvalidEvent("type", "it is missing", "name it"),
    "large": EventTooLarge("body", "too long", "shorten it"),
    "broker": BrokerUnavailable("amqp://inner-host refused"),
    "refusal": Refusal(403, "not you", field="authorization", fix="ask", headers={"X-Why": "no"}),
    "bug": RuntimeError("secret inner state"),
}


async def fine() -> None:
    return


def an_app(**probes: Any) -> Quart:
    routes = Blueprint("routes", __name__)

    @routes.get("/raise/<name>")
    async def fail(name: str) -> str:
        raise ERRORS[name]

    @routes.get("/abort/<int:status>")
    async def stop(status: int) -> str:
        abort(status)

    @routes.post("/limited")
    async def read() -> str:
        return str(len(await limited_body(10)))

    return make_app("test", Settings(backend_timeout_s=0.05), routes, probes=probes)


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/raise/invalid", 400, {"title": "Bad Request", "detail": "it is missing", "field": "type", "fix": "name it"}),
        ("/raise/large", 413, {"detail": "too long", "field": "body", "fix": "shorten it"}),
        ("/raise/broker", 503, {"detail": "the broker does not answer now"}),
        ("/raise/refusal", 403, {"detail": "not you", "field": "authorization", "fix": "ask"}),
        ("/raise/bug", 500, {"detail": "the server failed at this request, and logged why"}),
        ("/abort/409", 409, {"title": "Conflict"}),
        ("/nowhere", 404, {"title": "Not Found"}),
    ],
)
async def test_every_error_is_a_problem_document(path: str, status: int, expected: dict[str, str]) -> None:
    response = await an_app().test_client().get(path)
    document = await response.get_json(force=True)
    assert response.status_code == document["status"] == status
    assert response.headers["Content-Type"] == CONTENT_TYPE
    assert document.items() >= expected.items()
    assert document["type"] == "about:blank"


async def test_unavailable_says_when_to_come_back_and_nothing_of_the_inner_network() -> None:
    response = await an_app().test_client().get("/raise/broker")
    assert int(response.headers["Retry-After"]) > 0
    assert b"inner-host" not in await response.get_data()


async def test_a_refusal_keeps_its_headers() -> None:
    assert (await an_app().test_client().get("/raise/refusal")).headers["X-Why"] == "no"


async def test_method_not_allowed_names_the_methods() -> None:
    response = await an_app().test_client().get("/limited")
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


async def test_an_unknown_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await an_app().test_client().get("/raise/bug")
    assert b"secret" not in await response.get_data()
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_alive_without_asking_any_backend() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    response = await an_app(log=hang).test_client().get("/healthz")
    assert (response.status_code, await response.get_json()) == (200, {"status": "ok"})


async def test_ready_when_every_backend_answers() -> None:
    response = await an_app(broker=fine, log=fine).test_client().get("/readyz")
    assert response.status_code == 200
    assert await response.get_json() == {"status": "ok", "checks": {"broker": "ok", "log": "ok"}}


async def test_not_ready_names_what_is_away_and_waits_no_longer_than_the_bound() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def refuse() -> None:
        raise LogUnavailable("connection refused")

    async with asyncio.timeout(60):
        response = await an_app(broker=hang, log=refuse, cache=fine).test_client().get("/readyz")
    checks = {"broker": "no answer within 0.05 s", "log": "log unavailable: connection refused", "cache": "ok"}
    assert response.status_code == 503
    assert await response.get_json() == {"status": "unavailable", "checks": checks}


@pytest.mark.parametrize(
    ("size_bytes", "status"), [(0, 200), (10, 200), (11, 413), (100_000, 413), (MAX_BODY_BYTES + 1, 413)]
)
async def test_a_body_over_the_limit_is_refused(size_bytes: int, status: int) -> None:
    response = await an_app().test_client().post("/limited", data=b"x" * size_bytes)
    assert response.status_code == status


async def test_a_body_without_length_is_cut_while_it_streams() -> None:
    client = an_app().test_client()
    async with client.request("/limited", method="POST") as connection:
        for _ in range(5):
            await connection.send(b"xxxx")
        await connection.send_complete()
    assert (await connection.as_response()).status_code == 413


async def test_a_body_that_nobody_wants_is_not_kept() -> None:
    """Quart keeps 16 MiB of it for as long as the response lasts, and a stream lasts for hours."""
    app, dropped = an_app(), asyncio.Event()

    @app.post("/stream")
    async def stream() -> bytes:
        drop_body()
        dropped.set()
        return bytes(await request.get_data())

    async with app.test_client().request("/stream", method="POST") as connection:
        await connection.send(b"before, perhaps")
        await dropped.wait()
        await connection.send(b"after")
        await connection.send_complete()
    assert await (await connection.as_response()).get_data() == b""


async def test_bodies_of_all_requests_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand clients that each send most of a large body, and wait, must not fill the memory."""
    monkeypatch.setattr(app_module, "MAX_BODIES_BYTES", 15)
    client = an_app().test_client()
    async with client.request("/limited", method="POST") as slow:
        await slow.send(b"12345678")
        await eventually(lambda: client.app.extensions["carillon-bodies"]._free_bytes == 7)
        refused = await client.post("/limited", data=b"x" * 8)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        assert (await client.post("/limited", data=b"x" * 7)).status_code == 200
        await slow.send_complete()
    assert (await slow.as_response()).status_code == 200
    for _ in range(5):
        assert (await client.post("/limited", data=b"x" * 10)).status_code == 200, "what was answered is given back"
