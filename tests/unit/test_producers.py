"""Who may publish: keys of the settings, keys of the store, tokens; what they may publish, and how much of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt

from services.edge.tokens import TokenVerifier, sign_token
from services.ingest import stored_keys, tokens
from services.ingest.producers import Producers
from services.ingest.stored_keys import StoredKeys
from services.ingest.tokens import ProducerTokens, producer_of
from shared.conformance.producers import a_key
from shared.embedded.producers import open_producer_store
from shared.identity.api_keys import digest_of, id_of, new_key
from shared.identity.jwts import InvalidToken
from shared.identity.verifier import ClaimsVerifier, shared_key_of
from shared.model.errors import LogUnavailable
from shared.model.producer import PUBLISH_CLAIM, Producer
from shared.ports.producers import KeyRecord, ProducerStore
from shared.web.keys import ApiKeys
from shared.web.problem import Refusal
from tests.eventually import eventually
from tests.harness.switched import KEY, open_switched

SECRET = "0123456789abcdef0123456789abcdef"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FIXED = ApiKeys({"shop": "key"}, "CARILLON_PRODUCER_KEYS")


class CountedStore:
    """A real store that can be away."""

    def __init__(self, store: ProducerStore) -> None:
        self.store, self.asked, self.is_away = store, 0, False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def find(self, digest: str) -> KeyRecord | None:
        self.asked += 1
        await self.may_answer.wait()
        if self.is_away:
            raise LogUnavailable("refused")
        return await self.store.find(digest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store() -> AsyncIterator[CountedStore]:
    async with open_producer_store(None) as opened:
        yield CountedStore(opened)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def producers(store: CountedStore, clock: Clock) -> Producers:
    verifier = ClaimsVerifier(shared_key=SECRET, algorithms=["HS256"])
    return Producers(FIXED, stored=StoredKeys(store, clock), tokens=ProducerTokens(verifier), now=lambda: NOON)


async def added(store: CountedStore, **attributes: Any) -> str:
    """A key that is in the store."""
    text = new_key()
    await store.add(a_key(id_of(text) or "", digest=digest_of(text), **attributes))
    return text


def token(claims: dict[str, Any], secret: str = SECRET) -> str:
    full = {"sub": "builds", "exp": int(time.time()) + 600} | claims
    return jwt.encode(
        {"alg": "HS256"}, {name: one for name, one in full.items() if one is not None}, shared_key_of(secret)
    )


async def identified(producers: Producers, credential: str) -> Producer:
    return await producers.identify(f"Bearer {credential}", from_loopback=False)


async def status_of(producers: Producers, credential: str) -> int:
    with pytest.raises(Refusal) as refused:
        await identified(producers, credential)
    assert credential not in refused.value.detail
    assert refused.value.fix
    return refused.value.status


# Keys.


async def test_keys_of_the_settings_and_of_the_store(producers: Producers, store: CountedStore) -> None:
    text = await added(store, name="builds", sources=("/ci/*",), types=("build.*",), events_per_s=5.0)
    assert await identified(producers, "key") == Producer("shop")
    assert await identified(producers, text) == Producer("builds", ("/ci/*",), ("build.*",), 5.0)


async def test_a_key_that_was_made_elsewhere_counts_where_the_settings_name_it(store: CountedStore) -> None:
    """One from another installation's `carillon keys add`: the store does not know it, and it was refused for that."""
    text = new_key()
    producers = Producers(ApiKeys({"shop": text}, "CARILLON_PRODUCER_KEYS"), stored=StoredKeys(store))
    assert (await identified(producers, text)).name == "shop"
    assert await status_of(producers, new_key()) == 401


@pytest.mark.parametrize(
    ("attributes", "status", "said"),
    [
        ({"expires_at": NOON + timedelta(seconds=1)}, 200, ""),
        ({"expires_at": NOON}, 401, "has expired"),
        ({"revoked_at": NOON - timedelta(days=1)}, 401, "was revoked"),
        ({"revoked_at": NOON, "is_gone": True}, 410, "given up"),
    ],
)
async def test_a_key_ends(
    producers: Producers, store: CountedStore, attributes: dict[str, Any], status: int, said: str
) -> None:
    text = await added(store, **attributes)
    if status == 200:
        assert (await identified(producers, text)).name == "shop"
        return
    with pytest.raises(Refusal, match=said) as refused:
        await identified(producers, text)
    assert refused.value.status == status
    assert (refused.value.headers or {}).get("WWW-Authenticate", "Bearer").startswith("Bearer")


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1], lambda key: key + "0", lambda key: key.replace("ck_", "cl_"), str.upper]
)
async def test_what_is_no_key_is_refused_without_asking(
    producers: Producers, store: CountedStore, change: Callable[[str], str]
) -> None:
    assert await status_of(producers, change(await added(store))) == 401
    assert store.asked == 0


async def test_an_unknown_key_is_401(producers: Producers) -> None:
    assert await status_of(producers, new_key()) == 401


def test_keys_differ_and_their_digests_tell_nothing() -> None:
    made = [new_key() for _ in range(50)]
    assert len({id_of(key) for key in made}) == 50
    assert all(key.startswith(f"ck_{id_of(key)}_") and len(key) == 60 for key in made)
    assert not any(key[12:20] in digest_of(key) for key in made)
    mistyped = made[0][:20] + ("a" if made[0][20] != "a" else "b") + made[0][21:]
    assert id_of(mistyped) is None


async def test_a_busy_key_is_looked_up_now_and_then(producers: Producers, store: CountedStore, clock: Clock) -> None:
    text = await added(store)
    await asyncio.gather(*(identified(producers, text) for _ in range(100)))
    assert store.asked == 1, "one question for all who wait"
    clock.now = stored_keys.FRESH_S + 0.1
    await asyncio.gather(*(identified(producers, text) for _ in range(100)))
    await eventually(lambda: store.asked == 2)


async def test_a_revoked_key_is_refused_within_seconds(producers: Producers, store: CountedStore, clock: Clock) -> None:
    text = await added(store)
    await identified(producers, text)
    await store.revoke(id_of(text) or "", NOON)
    clock.now = stored_keys.FRESH_S + 0.1
    assert (await identified(producers, text)).name == "shop", "nobody waits for the question"
    await eventually(lambda: store.asked == 2)
    assert await status_of(producers, text) == 401


async def test_a_store_that_is_away_is_survived_for_moments(
    producers: Producers, store: CountedStore, clock: Clock
) -> None:
    text = await added(store)
    await identified(producers, text)
    store.is_away = True
    clock.now = stored_keys.STALE_MAX_S
    assert (await identified(producers, text)).name == "shop"
    clock.now = stored_keys.STALE_MAX_S + 0.1
    with pytest.raises(LogUnavailable):
        await identified(producers, text)
    store.is_away = False
    assert (await identified(producers, text)).name == "shop"


async def test_what_is_kept_is_bounded(store: CountedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_keys, "MAX_KEPT", 5)
    stored = StoredKeys(store)
    for number in range(20):
        assert await stored.find(str(number)) is None
    assert len(stored._kept) == 5


# Tokens.


async def test_a_token_says_what_its_producer_may_publish(producers: Producers) -> None:
    scope = {"sources": ["/ci/*"], "types": ["build.*"], "events_per_s": 2}
    assert await identified(producers, token({PUBLISH_CLAIM: scope})) == Producer(
        "token:builds", ("/ci/*",), ("build.*",), 2.0
    )
    assert await identified(producers, token({PUBLISH_CLAIM: {}})) == Producer("token:builds")
    assert await identified(producers, token({PUBLISH_CLAIM: {"types": []}})) == Producer("token:builds", types=())


@pytest.mark.parametrize(
    ("claims", "field"),
    [
        ({}, PUBLISH_CLAIM),
        ({PUBLISH_CLAIM: True}, PUBLISH_CLAIM),
        ({PUBLISH_CLAIM: ["*"]}, PUBLISH_CLAIM),
        ({PUBLISH_CLAIM: {}, "sub": None}, "sub"),
        ({PUBLISH_CLAIM: {}, "sub": ""}, "sub"),
        ({PUBLISH_CLAIM: {}, "sub": 7}, "sub"),
        ({PUBLISH_CLAIM: {}, "sub": "x" * 201}, "sub"),
        ({PUBLISH_CLAIM: {"sources": "*"}}, f"{PUBLISH_CLAIM}.sources"),
        ({PUBLISH_CLAIM: {"types": [""]}}, f"{PUBLISH_CLAIM}.types"),
        ({PUBLISH_CLAIM: {"types": ["x" * 256]}}, f"{PUBLISH_CLAIM}.types"),
        ({PUBLISH_CLAIM: {"types": ["a"] * 51}}, f"{PUBLISH_CLAIM}.types"),
        ({PUBLISH_CLAIM: {"events_per_s": 0}}, f"{PUBLISH_CLAIM}.events_per_s"),
        ({PUBLISH_CLAIM: {"events_per_s": True}}, f"{PUBLISH_CLAIM}.events_per_s"),
        ({PUBLISH_CLAIM: {"events_per_s": "9"}}, f"{PUBLISH_CLAIM}.events_per_s"),
    ],
)
def test_claims_that_make_no_producer(claims: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidToken) as refused:
        producer_of({"sub": "builds"} | claims)
    assert refused.value.field == field


async def test_a_users_token_publishes_nothing_and_a_producers_opens_no_session(producers: Producers) -> None:
    assert await status_of(producers, sign_token(SECRET, "alice")) == 401
    with pytest.raises(InvalidToken, match="for publishing"):
        await TokenVerifier(shared_key=SECRET, algorithms=["HS256"]).verify(token({PUBLISH_CLAIM: {}}))


@pytest.mark.parametrize(
    ("claims", "secret"),
    [
        ({"exp": int(time.time()) - 1}, SECRET),
        ({"exp": None}, SECRET),
        ({"nbf": time.time() + 86_400}, SECRET),
        ({}, "x" * 32),
    ],
)
async def test_a_token_that_is_no_good(producers: Producers, claims: dict[str, Any], secret: str) -> None:
    assert await status_of(producers, token({PUBLISH_CLAIM: {}} | claims, secret)) == 401


async def test_without_a_verifier_a_token_is_an_unknown_key(store: CountedStore) -> None:
    with pytest.raises(Refusal, match="nobody has this key"):
        await identified(Producers(FIXED), token({PUBLISH_CLAIM: {}}))


async def test_a_token_is_verified_now_and_then_and_never_beyond_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, verified = Clock(), 0
    clock.now = time.time()

    class Counted(ClaimsVerifier):
        async def claims(self, token: str) -> dict[str, Any]:
            nonlocal verified
            verified += 1
            return await super().claims(token)

    known = ProducerTokens(Counted(shared_key=SECRET, algorithms=["HS256"]), clock)
    short, long = (token({PUBLISH_CLAIM: {}, "exp": clock.now + s}) for s in (5, 3600))
    for _ in range(3):
        await known.producer(short)
        await known.producer(long)
    assert verified == 2
    clock.now += 6
    await known.producer(short)  # its own clock has not moved on
    assert verified == 3
    clock.now += tokens.KEPT_S
    await known.producer(long)
    assert verified == 4
    monkeypatch.setattr(tokens, "MAX_KEPT", 3)
    for number in range(10):
        await known.producer(token({PUBLISH_CLAIM: {}, "jti": str(number)}))
    assert len(known._kept) == 3


# Rates.


async def test_a_producer_over_its_rate_is_429_and_another_is_not() -> None:
    producer = Producer("shop", events_per_s=0.2)
    async with open_switched() as backends:
        reception = backends.reception()
        events = [{"specversion": "1.0", "id": str(n), "source": "/s", "type": "t"} for n in range(3)]
        client = backends.app(producer_events_per_s=0.2).test_client()
        headers = KEY | {"Content-Type": "application/cloudevents+json"}
        answers = [await client.post("/v1/events", headers=headers, data=json.dumps(event)) for event in events]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 5
        document = await answers[2].get_json(force=True)
        assert "'shop' may publish 0.2 events a second" in document["detail"]
        consent = await client.options("/v1/events", headers={"WebHook-Request-Origin": "a.example"})
        assert consent.headers["WebHook-Allowed-Rate"] == "12"
        assert [event.id for event in backends.published] == ["0", "1"]
        assert reception._over_rate(producer, 2) is None
        assert reception._over_rate(producer, 1) is not None
        assert reception._over_rate(replace(producer, name="other"), 1) is None
        assert reception._over_rate(Producer("unlimited"), 10_000) is None


async def test_a_batch_counts_its_events() -> None:
    async with open_switched() as backends:
        client = backends.app(producer_events_per_s=0.5).test_client()
        headers = KEY | {"Content-Type": "application/cloudevents-batch+json"}
        batch = [{"specversion": "1.0", "id": str(n), "source": "/s", "type": "t"} for n in range(5)]
        statuses = [
            (await client.post("/v1/events", headers=headers, data=json.dumps(batch))).status_code for _ in range(2)
        ]
        assert statuses == [202, 429]
