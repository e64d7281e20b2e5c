"""No secret leaves a process by its logs, its answers or its commands, whatever fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from infra.local.servers import free_port
from services.cli import commands
from tests.eventually import WITHIN_S, answered
from tests.harness.process import Service
from tests.unit.test_logs import HIDDEN, SECRETS

# Of users and producers: no setting holds them, so nobody can hide them; they must not be said.
PRESENTED = {
    "bearer": "bearer-of-alice.in-three.parts",
    "cookie": "cookie-of-alice.in-three.parts",
    "ticket": "ticket-of-alice-0123456789",
    "code": "code-of-the-provider-0123456789",
    "state": "state-of-the-login-0123456789",
    "key": "key-that-nobody-has",
}
NOWHERE = "127.0.0.1:9"
EVENT = {"specversion": "1.0", "id": "1", "source": "/t", "type": "a.b", "data": "body-of-an-event"}


def environment() -> dict[str, str]:
    """Every secret set, and every backend away."""
    addresses = {
        "amqp_url": SECRETS["amqp_url"].replace("rabbit.internal:5672", NOWHERE),
        "mongo_url": SECRETS["mongo_url"].replace("db.internal", NOWHERE),
        "oidc_issuer": f"http://{NOWHERE}",
        "oidc_client_id": "carillon",
        "otlp_endpoint": f"http://{NOWHERE}",
        "otlp_protocol": "http",
    }
    plain = {"log_level": "debug", "trace_ratio": "1", "backend_timeout_s": "0.3"}
    return {f"CARILLON_{name.upper()}": value for name, value in (SECRETS | addresses | plain).items()}


@asynccontextmanager
async def alive(role: str, folder: Path) -> AsyncIterator[Service]:
    """The service, which lives and is not ready."""
    port = free_port()
    env = environment() | {"CARILLON_PORT": str(port)}
    service = Service(role, [role], f"http://127.0.0.1:{port}", env, folder)
    service.start()
    try:
        async with httpx.AsyncClient(timeout=WITHIN_S) as client:
            await answered(lambda: client.get(f"{service.url}/healthz"), httpx.TransportError)
        yield service
    finally:
        service.end()


def requests_of(role: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Requests that fail, each with something secret in it."""
    bearer = {"Authorization": f"Bearer {PRESENTED['bearer']}"}
    cookie = {"Cookie": f"__Host-carillon={PRESENTED['cookie']}"}
    yield "GET", "/readyz", {}
    yield "GET", "/metrics", {}
    if role == "edge":
        yield "POST", "/v1/session", {"headers": bearer}
        yield "DELETE", "/v1/session", {"headers": cookie}
        for headers in (bearer, cookie):
            yield "GET", "/v1/events", {"headers": headers}
            yield "POST", "/v1/tickets", {"headers": headers}
        yield "GET", f"/v1/events?ticket={PRESENTED['ticket']}", {}
        yield "GET", "/v1/login", {}
        yield "GET", f"/v1/login/callback?code={PRESENTED['code']}&state={PRESENTED['state']}", {}
        yield "GET", "/v1/connections", {"headers": {"Authorization": "Bearer key-of-ops"}}
        yield "GET", "/v1/connections", {"headers": {"Authorization": f"Bearer {PRESENTED['key']}"}}
    if role == "ingest":
        for key in ("key-of-shop", PRESENTED["key"]):
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents+json"}
            yield "POST", "/v1/events", {"headers": headers, "json": EVENT}
            yield "POST", "/v1/events", {"headers": headers, "content": b'{"data": "body-of-an-event'}
            yield "POST", "/v1/rpc", {"headers": headers, "json": {"jsonrpc": "2.0", "id": 1, "method": "no"}}


def said_of(text: str) -> list[str]:
    """The secrets in a text."""
    secrets = {*HIDDEN, *PRESENTED.values(), "body-of-an-event"}
    return [secret for secret in secrets if secret in text]


async def test_services_without_their_backends_say_no_secret(tmp_path: Path) -> None:
    answers: list[str] = []
    async with (
        alive("ingest", tmp_path) as ingest,
        alive("edge", tmp_path) as edge,
        alive("persister", tmp_path) as persister,
        httpx.AsyncClient(timeout=WITHIN_S) as client,
    ):
        for service in (ingest, edge, persister):
            for method, path, options in requests_of(service.name):
                answer = await client.request(method, f"{service.url}{path}", **options)  # type: ignore[arg-type]
                answers.append(f"{method} {path.partition('?')[0]} {answer.status_code} {answer.headers} {answer.text}")
        # For loops that try again, and spans that find no collector.
        await asyncio.sleep(2)
        services = [ingest, edge, persister]
    refused = [answer for answer in answers if re.match(r"\S+ \S+ [45]", answer)]
    assert len(refused) > 12, "these were meant to fail"
    assert not [(answer, found) for answer in answers if (found := said_of(answer))]
    for service in services:
        assert service.output
        assert not said_of(service.output), service.tail()
        assert service.output.count("is interrupted: ") <= 3, "one line an incident"


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["publish", "a.b", "--key", PRESENTED["key"], "--url", f"http://{NOWHERE}"],
        ["tail", "--ticket", PRESENTED["ticket"], "--url", f"http://{NOWHERE}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_fails_says_no_secret(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(commands, arguments, prog_name="carillon")
    assert done.exit_code == 1
    assert done.output
    assert not said_of(done.output)
