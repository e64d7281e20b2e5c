"""What an issuer publishes: fetched within bounds, kept, asked for again with a reason, and not too often."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from shared.identity import keysets
from shared.identity.issuers import BASIC, POST, Issuer, Metadata
from shared.identity.keysets import (
    ANSWER_MAX_BYTES,
    ASKED_AGAIN_AFTER_S,
    ASKED_EVERY_S,
    KEPT_S,
    MAX_KEYS,
    STALE_MAX_S,
    IssuerUnavailable,
    KeySet,
    chosen,
    usable_keys,
)
from shared.model.errors import InvalidInput
from tests.eventually import eventually
from tests.harness.issuer import DISCOVERY, KEYS, LocalIssuer, Spoiled, new_key


class Clock:
    """Seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: LocalIssuer, clock: Clock) -> KeySet:
    return KeySet.at(issuer.url + KEYS, clock)


async def test_keys_are_fetched_once_and_again_when_they_are_old(
    issuer: LocalIssuer, clock: Clock, keys: KeySet
) -> None:
    for _ in range(3):
        assert await keys.key("ES256", "first") is not None
    assert issuer.asked[KEYS] == 1
    clock.now += KEPT_S + 1
    assert await keys.key("ES256", "first") is not None
    assert issuer.asked[KEYS] == 2


async def test_many_at_once_are_one_request(issuer: LocalIssuer, keys: KeySet) -> None:
    found = await asyncio.gather(*(keys.key("ES256", "first") for _ in range(50)))
    assert all(found)
    assert issuer.asked[KEYS] == 1


async def test_an_unknown_kid_is_looked_for_once_and_then_not_for_a_while(
    issuer: LocalIssuer, clock: Clock, keys: KeySet
) -> None:
    await keys.key("ES256", "first")
    issuer.keys.append(new_key("second"))
    assert await keys.key("ES256", "second") is None, "just asked: made-up ids must not become requests"
    clock.now += ASKED_EVERY_S
    found = await asyncio.gather(*(keys.key("ES256", "second") for _ in range(20)))
    assert all(found)
    assert issuer.asked[KEYS] == 2
    assert [await keys.key("ES256", f"made-up-{number}") for number in range(20)] == [None] * 20
    assert issuer.asked[KEYS] == 2


async def test_a_withdrawn_key_is_gone_once_the_set_is_fetched_again(
    issuer: LocalIssuer, clock: Clock, keys: KeySet
) -> None:
    assert await keys.key("ES256", "first") is not None
    issuer.keys = [new_key("second")]
    clock.now += KEPT_S + 1
    assert await keys.key("ES256", "first") is None


async def test_stale_keys_go_on_while_the_issuer_is_down_but_not_for_ever(
    issuer: LocalIssuer, clock: Clock, keys: KeySet
) -> None:
    await keys.key("ES256", "first")
    issuer.stop()
    clock.now += KEPT_S + 1
    assert await keys.key("ES256", "first") is not None
    assert await keys.key("ES256", "other") is None
    clock.now += STALE_MAX_S
    with pytest.raises(IssuerUnavailable):
        await keys.key("ES256", "first")
    issuer.start()
    clock.now += ASKED_EVERY_S
    assert await keys.key("ES256", "first") is not None


async def test_without_keys_an_issuer_that_is_down_is_not_asked_by_everybody(
    issuer: LocalIssuer, clock: Clock, keys: KeySet
) -> None:
    issuer.spoiled[KEYS] = Spoiled(503, b"{}")
    for _ in range(5):
        with pytest.raises(IssuerUnavailable):
            await keys.key("ES256", "first")
    assert issuer.asked[KEYS] == 1
    issuer.spoiled.clear()
    clock.now += ASKED_AGAIN_AFTER_S
    assert await keys.key("ES256", "first") is not None


async def test_while_one_waits_for_an_issuer_that_hangs_the_others_go_on(
    issuer: LocalIssuer, clock: Clock, keys: KeySet
) -> None:
    await keys.key("ES256", "first")
    let_go = threading.Event()
    issuer.spoiled[KEYS] = Spoiled(200, b"{}", held=let_go)
    clock.now += KEPT_S + 1
    waiting = asyncio.create_task(keys.key("ES256", "first"))
    await eventually(lambda: issuer.asked[KEYS] == 2)
    assert await keys.key("ES256", "first") is not None
    assert not waiting.done()
    let_go.set()
    assert await waiting is not None


async def test_a_hanging_issuer_is_given_up(issuer: LocalIssuer, keys: KeySet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keysets, "ASK_TIMEOUT_S", 0.1)
    let_go = threading.Event()
    issuer.spoiled[KEYS] = Spoiled(200, b"{}", held=let_go)
    with pytest.raises(IssuerUnavailable, match="Timeout"):
        await keys.key("ES256", "first")
    let_go.set()


HUGE = json.dumps({"keys": [{"kty": "oct", "k": "x" * ANSWER_MAX_BYTES}]}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        Spoiled(200, HUGE),
        Spoiled(200, b"not json"),
        Spoiled(200, b"\xff\xfe"),
        Spoiled(200, b"[" * 100_000),
        Spoiled(200, b"[]"),
        Spoiled(200, b"{}"),
        Spoiled(200, b'{"keys":{}}'),
        Spoiled(200, b'{"keys":[]}'),
        Spoiled(200, json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0" * 8}]}).encode()),
        Spoiled(200, json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode()),
        Spoiled(404, b"{}"),
        Spoiled(302, b"", (("Location", "/elsewhere"),)),
        Spoiled(200, b"{}", (("Content-Encoding", "gzip"),)),
    ],
    ids=lambda answer: f"{answer.status}-{answer.body[:20]!r}",
)
async def test_an_answer_that_is_no_key_set_is_the_issuers_failure(
    issuer: LocalIssuer, keys: KeySet, answer: Spoiled
) -> None:
    issuer.spoiled[KEYS] = answer
    with pytest.raises(IssuerUnavailable):
        await keys.key("ES256", "first")


def public(key: Any, **more: Any) -> dict[str, Any]:
    return key.as_dict(private=False) | more


EC, ED, RSA = ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519"), RSAKey.generate_key(2048)


@pytest.mark.filterwarnings("ignore:Key size")
def test_what_is_not_understood_is_left_out_of_a_set() -> None:
    good = public(EC, kid="good")
    entries = [
        None,
        7,
        {},
        {"kty": ["RSA"]},
        {"kty": "AKP", "pub": "x"},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "n": "", "e": ""},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "nonsense", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        public(RSA, use="enc"),
        public(RSAKey.generate_key(1024)),
        {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "good", "alg": "HS256"},
        good,
    ]
    assert [key.kid for key in usable_keys({"keys": entries})] == ["good"]


@pytest.mark.parametrize(
    ("published", "algorithm", "kid", "found"),
    [
        ([public(EC, kid="a")], "ES256", "a", True),
        ([public(EC, kid="a")], "ES256", None, True),
        ([public(EC)], "ES256", None, True),
        ([public(EC, kid="a")], "ES256", "b", False),
        ([public(EC, kid="a")], "RS256", "a", False),
        ([public(EC, kid="a", alg="ES256")], "ES256", "a", True),
        ([public(RSA, kid="a", alg="PS256")], "RS256", "a", False),
        ([public(ECKey.generate_key("P-384"), kid="a")], "ES256", "a", False),
        ([public(ED, kid="a")], "EdDSA", "a", True),
        ([public(OKPKey.generate_key("X25519"), kid="a")], "EdDSA", "a", False),
        # The id alone does not say which: a key of another kind may have the same (RFC 7517, 4.5).
        ([public(EC, kid="a"), public(RSA, kid="a")], "RS256", "a", True),
        # Without an id there must be no choice (OpenID Connect Core, 10.1).
        ([public(EC, kid="a"), public(ECKey.generate_key("P-256"), kid="b")], "ES256", None, False),
    ],
)
def test_which_key_verifies(published: list[dict[str, Any]], algorithm: str, kid: str | None, found: bool) -> None:
    assert (chosen(usable_keys({"keys": published}), algorithm, kid) is not None) is found


async def test_discovery_finds_the_keys_and_is_kept(issuer: LocalIssuer, clock: Clock) -> None:
    known = Issuer(issuer.url, clock)
    assert await known.keys.key("ES256", "first") is not None
    assert (await known.metadata()).endpoint("token_endpoint") == f"{issuer.url}/token"
    clock.now += ASKED_EVERY_S
    await known.keys.key("ES256", "other")
    assert (issuer.asked[DISCOVERY], issuer.asked[KEYS]) == (1, 2)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda url: f"{url}/",
        lambda url: url.replace("127.0.0.1", "localhost"),
        lambda url: url.upper(),
        lambda url: None,
        lambda url: [url],
    ],
)
async def test_an_issuer_that_names_itself_otherwise_is_another(
    issuer: LocalIssuer, clock: Clock, spelled: Any
) -> None:
    issuer.metadata = {"issuer": spelled(issuer.url)}
    with pytest.raises(IssuerUnavailable, match="another issuer"):
        await Issuer(issuer.url, clock).metadata()


@pytest.mark.parametrize("url", [None, 7, "", "nonsense", "http://issuer.example/keys", "ftp://x", "https://a@b/x"])
async def test_an_endpoint_that_is_not_to_be_trusted_is_the_issuers_failure(
    issuer: LocalIssuer, clock: Clock, url: object
) -> None:
    issuer.metadata = {"jwks_uri": url}
    with pytest.raises(IssuerUnavailable):
        await Issuer(issuer.url, clock).keys.key("ES256", "first")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/keys", "https://localhost/keys", "http://[::1]:9/keys"])
def test_an_issuer_elsewhere_sends_this_server_nowhere_on_loopback(url: str) -> None:
    with pytest.raises(IssuerUnavailable, match="loopback"):
        Metadata("https://issuer.example", {"jwks_uri": url}).endpoint("jwks_uri")


@pytest.mark.parametrize(
    ("supported", "method"),
    [
        (None, BASIC),
        ([], BASIC),
        ("nonsense", BASIC),
        ([BASIC, POST], BASIC),
        ([POST, BASIC], BASIC),
        ([POST], POST),
        (["private_key_jwt"], BASIC),
    ],
)
def test_how_a_client_shows_its_secret(supported: Any, method: str) -> None:
    assert Metadata("https://x", {"token_endpoint_auth_methods_supported": supported}).client_authentication == method


@pytest.mark.parametrize(
    "name",
    [
        "",
        "issuer.example",
        "http://issuer.example",
        "http://127.0.0.1.example",
        "https://",
        "https://user:pass@issuer.example",
        "https://issuer.example/#x",
        "https://issuer.example/?x=1",
        "https://issuer.example/a b",
        "https://[::1",
        "file:///etc/passwd",
    ],
)
def test_who_cannot_be_an_issuer(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Issuer(name)
    assert refused.value.field == "CARILLON_OIDC_ISSUER"


@pytest.mark.parametrize(
    "name", ["https://issuer.example/tenant/", "http://localhost:1", "http://[::1]:1", "http://127.0.0.2"]
)
def test_who_can(name: str) -> None:
    assert Issuer(name).name == name
