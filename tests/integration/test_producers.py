"""Producers of a running platform: keys handed out and taken back by the command, tokens, scopes, on both adapters."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from joserfc import jwt

from services.cli import commands
from services.ingest.stored_keys import STALE_MAX_S
from shared.identity.verifier import shared_key_of
from shared.model.producer import PUBLISH_CLAIM
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import DevPlatform, FourServices, Platform, environment

pytestmark = pytest.mark.servers


async def carillon(platform: Platform, *arguments: str) -> str:
    """What the command prints, told where the platform keeps its keys."""
    if isinstance(platform, DevPlatform):
        where, settings = ["--data", str(platform.data_dir)], {}
    else:
        assert isinstance(platform, FourServices)
        kept = platform.settings
        where, settings = [], {"mongo_url": kept.mongo_url.get_secret_value(), "mongo_database": kept.mongo_database}
    runner = CliRunner(env=environment(settings))
    result = await asyncio.to_thread(runner.invoke, commands, [*arguments, *where], prog_name="carillon")
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


async def post(platform: Platform, credential: str, number: int, **attributes: Any) -> tuple[int, dict[str, Any]]:
    event = {"specversion": "1.0", "id": str(number), "source": "/shop/1", "type": "order.created"} | attributes
    headers = {"Authorization": f"Bearer {credential}", "Content-Type": "application/cloudevents+json"}
    async with httpx.AsyncClient(trust_env=False, timeout=WITHIN_S) as client:
        answer = await client.post(f"{platform.ingest_url}/v1/events", headers=headers, content=json.dumps(event))
    return answer.status_code, answer.json()


async def test_a_key_from_its_first_event_to_its_end(any_platform: Platform) -> None:
    key = await carillon(any_platform, "keys", "add", "shop", "--source", "/shop/*", "--type", "order.*")
    other = await carillon(any_platform, "keys", "add", "other")
    assert (await post(any_platform, key, 1))[0] == 202
    for outside, field in (({"source": "/elsewhere"}, "source"), ({"type": "user.deleted"}, "type")):
        status, document = await post(any_platform, key, 2, **outside)
        assert (status, document["field"]) == (403, field)
        assert (await post(any_platform, other, 2, **outside))[0] == 202
    await carillon(any_platform, "keys", "revoke", "shop")

    async def refused() -> dict[str, Any]:
        status, document = await post(any_platform, key, 3)
        assert status == 401
        return document

    document = await answered(refused, AssertionError, within_s=STALE_MAX_S + WITHIN_S)
    assert "was revoked" in document["detail"]
    assert key not in json.dumps(document)
    assert (await post(any_platform, other, 4))[0] == 202, "another key is not touched"


async def test_a_token_publishes_what_it_says(any_platform: Platform) -> None:
    scope = {"types": ["build.*"]}
    claims = {"sub": "ci", "exp": int(time.time()) + 600, PUBLISH_CLAIM: scope}
    token = jwt.encode({"alg": "HS256"}, claims, shared_key_of(any_platform.jwt_secret))
    assert (await post(any_platform, token, 1, type="build.done"))[0] == 202
    assert (await post(any_platform, token, 2))[0] == 403
    of_user = jwt.encode({"alg": "HS256"}, claims | {PUBLISH_CLAIM: None}, shared_key_of(any_platform.jwt_secret))
    assert (await post(any_platform, of_user, 3))[0] == 401
