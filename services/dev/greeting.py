"""What `carillon dev` prints once it runs, and the proof that it does."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import httpx
from httpx_sse import aconnect_sse

from services.dev.routes import DEMO_TAGS
from services.edge.tokens import sign_token
from shared.model.errors import CarillonError

# A fresh machine takes a second or two; a hung one must not look as if it were starting for ever.
PROOF_TIMEOUT_S = 30.0
PROOF_USER = "carillon-dev"


class NotWorking(CarillonError):
    """The platform started, and an event published did not arrive on a stream."""


async def sign_in(client: httpx.AsyncClient, jwt_secret: str, user: str) -> str:
    """Opens a session as a browser would; returns the cookie as `name=value`."""
    token = sign_token(jwt_secret, sub=user, tags=DEMO_TAGS, ttl_s=12 * 3600)
    answer = await client.post("/v1/session", headers={"Authorization": f"Bearer {token}"})
    answer.raise_for_status()
    return answer.headers["set-cookie"].split(";", 1)[0]


async def prove(url: str, jwt_secret: str) -> None:
    """Publishes an event and returns once it arrived on a stream. Raises `NotWorking`."""
    try:
        async with asyncio.timeout(PROOF_TIMEOUT_S), httpx.AsyncClient(base_url=url) as client:
            cookie = await sign_in(client, jwt_secret, PROOF_USER)
            async with aconnect_sse(client, "GET", "/v1/events", headers={"Cookie": cookie}) as stream:
                events = stream.aiter_sse()
                await anext(events)
                event_id = await _publish(client)
                async for event in events:
                    if event.data and event.json().get("id") == event_id:
                        return
    except TimeoutError:
        raise NotWorking(f"an event published did not arrive within {PROOF_TIMEOUT_S:.0f} s; see the log") from None
    except httpx.HTTPError as failed:
        raise NotWorking(f"an event could not be published to {url}: {failed!r}") from None


async def _publish(client: httpx.AsyncClient) -> str:
    attributes = {
        "specversion": "1.0",
        "id": secrets.token_hex(8),
        "source": "/carillon/dev",
        "type": "dev.started",
        "audience": f"user:{PROOF_USER}",
    }
    headers = {"Authorization": "Bearer dev", "Content-Type": "application/cloudevents+json"}
    answer = await client.post("/v1/events", json=attributes, headers=headers)
    answer.raise_for_status()
    return attributes["id"]


def greeting(url: str, data_dir: Path | None, cookie: str) -> str:
    """Where everything is, and a line to paste."""
    kept = f"{data_dir} (SQLite; kept when this ends)" if data_dir else "in memory (gone when this ends)"
    curl = (
        f"""curl {url}/v1/events -H 'Authorization: Bearer dev' -H 'Content-Type: application/cloudevents+json' """
        """-d '{"specversion":"1.0","id":"'$(date +%s%N)'","source":"/shell","type":"greeting.sent","""
        """"audience":"user:alice","data":{"text":"Hello"}}'"""
    )
    return f"""
Carillon, all services in one process

  page      {url}/
  publish   POST {url}/v1/events    with the key: dev
  stream    GET  {url}/v1/events    with a session
  console   {url}/console
  events    {kept}
  users     alice, bob; alice's session: Cookie: {cookie}

Publish an event, and see it on the page:

  {curl}

Follow alice's stream in a terminal:

  curl -N {url}/v1/events -H 'Cookie: {cookie}'
"""
