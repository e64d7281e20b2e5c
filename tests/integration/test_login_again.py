"""Whoever logs in once more, by OpenID Connect, has another session; the former one ends, and its streams know."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from services.edge.sessions import SessionCookie
from tests.eventually import WITHIN_S
from tests.harness.asgi import ask
from tests.harness.issuer import CLIENT_ID, CLIENT_SECRET, LocalIssuer, local_issuer
from tests.harness.own_edge import OwnEdge, own_edge, served


async def logged_in(client: Any, issuer: LocalIssuer, **claims: Any) -> str:
    """All the way to the issuer and back; the cookie that the browser then has."""
    begun = await client.get("/v1/login")
    address = begun.headers["Location"]
    state = dict(parse_qsl(urlsplit(address).query))["state"]
    parameters = {"code": issuer.log_in(address, **claims), "state": state}
    answer = await client.get("/v1/login/callback?" + urlencode(parameters))
    assert answer.status_code == 303, await answer.get_data()
    [cookie] = [cookie.value for cookie in client.cookie_jar if cookie.name == "carillon"]
    assert cookie is not None
    return cookie


def cookie_of(own: OwnEdge) -> SessionCookie:
    assert own.settings.session_secret is not None
    return SessionCookie([own.settings.session_secret.get_secret_value()], 3600, secure=False)


@pytest.mark.parametrize("again_as", ["alice", "bob"])
async def test_logging_in_again_ends_the_former_session_of_the_same_user(again_as: str) -> None:
    with local_issuer() as issuer:
        settings = {"oidc_issuer": issuer.url, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}
        async with own_edge(**settings, public_url="http://127.0.0.1:8082") as own, served(own) as port:
            browser = own.app.test_client()
            former = await logged_in(browser, issuer)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /v1/events HTTP/1.1\r\nHost: x\r\nCookie: carillon={former}\r\n\r\n".encode())
            async with asyncio.timeout(WITHIN_S):
                await reader.readuntil(b"event: connected")
                latter = await logged_in(browser, issuer, sub=again_as, carillon_tags=["topic:new"])
                if again_as == "alice":
                    assert b'"reason":"session-replaced","reconnect":true' in await reader.read()
            refused = await ask(own.app, "GET", b"/v1/session", [(b"cookie", f"carillon={former}".encode())])
            assert refused.status == (401 if again_as == "alice" else 200)
            session = cookie_of(own).read(latter)
            writer.close()
    assert (session.sub, session.grants) == (again_as, ("topic:new",))
