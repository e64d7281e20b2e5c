"""Bearer tokens by the shared key and by an issuer's published keys; and no forgery with the one for the other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter
from pydantic import SecretStr

from services.edge.claims import MAX_TAGS_BYTES
from services.edge.tokens import TokenVerifier, sign_token
from shared.identity.jwts import MAX_TOKEN_CHARS, InvalidToken
from shared.identity.keysets import IssuerUnavailable, KeySet
from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from tests.harness.issuer import KEYS, LocalIssuer, Spoiled, new_key

SECRET = "s" * 32
ALL = ("HS256", "RS256", "ES256", "EdDSA")
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "alg": "RS256"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed", "alg": "EdDSA"})


LOOSE = JWSRegistry(algorithms=list(ALL), strict_check_header=False)
CRITICAL = JWSRegistry({"x-own": HeaderParameter("ours", "int")}, list(ALL))


@pytest.fixture
def issuer(issuer: LocalIssuer) -> LocalIssuer:
    issuer.keys += [RSA, ED]
    return issuer


def settings(**given: Any) -> Settings:
    return Settings(jwt_secret=SecretStr(SECRET), **{"jwt_algorithms": ALL, "jwt_audience": "carillon"} | given)


@pytest.fixture
def verifier(issuer: LocalIssuer) -> TokenVerifier:
    return TokenVerifier.of(settings(oidc_issuer=issuer.url))


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: object, key: Key | bytes) -> str:
    """Signed with whatever bytes, which no library would do."""
    secret = key if isinstance(key, bytes) else key.as_pem(private=False)  # type: ignore[union-attr]
    signing = f"{part(header)}.{part(claims)}"
    return f"{signing}.{part(hmac.digest(secret, signing.encode(), hashlib.sha256))}"


@pytest.mark.filterwarnings("ignore:EdDSA")
@pytest.mark.parametrize("number", [0, 1, 2], ids=["ES256", "RS256", "EdDSA"])
async def test_a_token_of_the_issuer(issuer: LocalIssuer, verifier: TokenVerifier, number: int) -> None:
    key = issuer.keys[number]
    algorithm = str(key.get("alg"))
    claims = issuer.claims(tags=["topic:builds/*", "topic:a"], aud=["other", "carillon"])
    text = jwt.encode({"alg": algorithm, "kid": key.kid, "x-own": "ignored"}, claims, key, registry=LOOSE)
    token = await verifier.verify(text)
    assert (token.sub, token.tags, token.expires_at) == ("alice", ("topic:builds/*", "topic:a"), claims["exp"])


async def test_a_token_with_the_shared_key_needs_no_issuer(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    issuer.stop()
    text = sign_token(SECRET, "bob", ["topic:a"], 60, issuer.url, "carillon")
    assert (await verifier.verify(text)).sub == "bob"
    assert not issuer.asked
    issuer.start()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"iss": ...}, "iss"),
        ({"iss": "https://other"}, "iss"),
        ({"aud": ...}, "aud"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another", 7, None]}, "aud"),
        ({"aud": {"carillon": 1}}, "aud"),
        ({"exp": ...}, "exp"),
        ({"exp": 1}, "exp"),
        ({"exp": "9999999999"}, "exp"),
        ({"nbf": time.time() + 3600}, "nbf"),
        ({"sub": ...}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 193}, "sub"),
        ({"tags": "topic:a"}, "tags"),
        ({"tags": ["control:alice"]}, "tags"),
        ({"tags": ["user:*"]}, "tags"),
        ({"tags": ["*"]}, "tags"),
        ({"tags": ["topic:" + "x" * 150 + str(n) for n in range(MAX_TAGS_BYTES // 150)]}, "tags"),
    ],
)
async def test_a_wrong_claim_is_refused_by_name(
    issuer: LocalIssuer, verifier: TokenVerifier, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidToken) as refused:
        await verifier.verify(issuer.sign(issuer.claims(**changed)))
    assert refused.value.field == field


@pytest.mark.parametrize("changed", [{"sub": "\ud800"}, {"tags": ["topic:\ud800"]}])
async def test_half_a_character_is_refused_by_name(
    issuer: LocalIssuer, verifier: TokenVerifier, changed: dict[str, Any]
) -> None:
    """JSON can say what UTF-8 cannot; it once came out of `encode` as an unexpected error."""
    with pytest.raises(InvalidToken) as refused:
        await verifier.verify(by_hand({"alg": "HS256"}, issuer.claims(**changed), SECRET.encode()))
    assert refused.value.field in changed


def forged(issuer: LocalIssuer) -> dict[str, str]:
    claims, first = issuer.claims(), issuer.keys[0]
    es, hs, rs = ({"alg": name, "kid": "first"} for name in ("ES256", "HS256", "RS256"))
    good = issuer.sign(claims)
    head, body, signature = good.split(".")
    return {
        "none": f"{part({'alg': 'none'})}.{part(claims)}.",
        "None": f"{part({'alg': 'None'})}.{part(claims)}.",
        "no algorithm": f"{part({'kid': 'first'})}.{part(claims)}.{signature}",
        "a list of algorithms": f"{part({'alg': ['ES256']})}.{part(claims)}.{signature}",
        "the public key as shared key": by_hand(hs, claims, first),
        "the published JWK as shared key": by_hand(hs, claims, json.dumps(issuer.key_set()["keys"][0]).encode()),
        "the RSA public key as shared key": by_hand({"alg": "HS256", "kid": "rsa"}, claims, RSA),
        "the shared key under a public algorithm": by_hand(es, claims, SECRET.encode()),
        "another key under a known id": issuer.sign(claims, new_key("first")),
        "another algorithm than the key's": by_hand(rs, claims, SECRET.encode()),
        "an algorithm that is not allowed": jwt.encode(
            {"alg": "ES384"}, claims, ECKey.generate_key("P-384"), algorithms=["ES384"]
        ),
        "other claims": f"{head}.{part(claims | {'sub': 'bob'})}.{signature}",
        "another header": f"{part({'alg': 'ES256', 'kid': 'first', 'typ': 'x'})}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "a short signature": f"{head}.{body}.{signature[:-4]}",
        "a signature of zeros": f"{head}.{body}.{part(bytes(64))}",
        "something critical": with_something_critical(claims, first),
        "a key id that is no text": f"{part({'alg': 'ES256', 'kid': 7})}.{body}.{signature}",
        "a key of its own": by_hand(
            {"alg": "HS256", "jwk": {"kty": "oct", "k": part(b"mine" * 8)}}, claims, b"mine" * 8
        ),
        "a long header": by_hand({"alg": "HS256", "x": "y" * 3000}, claims, SECRET.encode()),
        "two parts": f"{head}.{body}",
        "encrypted": f"{head}.{body}.{signature}.x.y",
        "no JSON": f"{part(b'{')}.{body}.{signature}",
        "deep JSON": f"{part(b'[' * 1500)}.{body}.{signature}",
        "long": "x" * (MAX_TOKEN_CHARS + 1),
        "not ASCII": "é.é.é",
        "a lone surrogate": "\ud800.a.b",
        "empty": "",
    }


def with_something_critical(claims: dict[str, Any], key: Key) -> str:
    return jwt.encode({"alg": "ES256", "kid": "first", "crit": ["x-own"], "x-own": 1}, claims, key, registry=CRITICAL)


async def test_what_neither_key_signed_is_refused(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    for name, text in forged(issuer).items():
        with pytest.raises(InvalidToken) as refused:
            await verifier.verify(text)
        assert refused.value.field == "token", name


async def test_a_signed_text_that_is_no_object(verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken) as refused:
        await verifier.verify(by_hand({"alg": "HS256"}, ["x"], SECRET.encode()))
    assert refused.value.field == "token"


async def test_algorithms_that_are_not_listed_are_refused_whatever_keys_there_are(issuer: LocalIssuer) -> None:
    only_public = TokenVerifier.of(settings(oidc_issuer=issuer.url, jwt_algorithms=("ES256",)))
    only_shared = TokenVerifier.of(settings(oidc_issuer=issuer.url, jwt_algorithms=("HS256",), jwt_issuer=issuer.url))
    shared, public = sign_token(SECRET, "a", (), 60, issuer.url, "carillon"), issuer.sign(issuer.claims())
    assert (await only_public.verify(public)).sub == "alice"
    assert (await only_shared.verify(shared)).sub == "a"
    for verifier, text in ((only_public, shared), (only_shared, public)):
        with pytest.raises(InvalidToken):
            await verifier.verify(text)


async def test_without_a_shared_key_nothing_can_be_signed_with_it(issuer: LocalIssuer) -> None:
    verifier = TokenVerifier(keys=KeySet.at(issuer.url + KEYS), algorithms=ALL)
    assert verifier.verifies_anything
    for secret in (b"", issuer.keys[0].as_pem(private=False)):  # type: ignore[union-attr]
        with pytest.raises(InvalidToken, match="algorithm"):
            await verifier.verify(by_hand({"alg": "HS256"}, issuer.claims(), secret))
    assert not TokenVerifier(algorithms=ALL).verifies_anything


async def test_an_issuer_that_is_down_is_not_the_tokens_fault(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    issuer.spoiled[KEYS] = Spoiled(500, b"")
    with pytest.raises(IssuerUnavailable):
        await verifier.verify(issuer.sign(issuer.claims()))


async def test_a_fixed_address_of_the_keys_needs_no_discovery(issuer: LocalIssuer) -> None:
    verifier = TokenVerifier.of(settings(jwt_jwks_url=issuer.url + KEYS, jwt_issuer=issuer.url))
    assert (await verifier.verify(issuer.sign(issuer.claims()))).sub == "alice"
    assert set(issuer.asked) == {KEYS}


@pytest.mark.parametrize(
    ("given", "at_fault"),
    [
        ({}, "CARILLON_JWT_ALGORITHMS"),
        ({"jwt_jwks_url": "https://x", "jwt_algorithms": ("HS256",)}, "CARILLON_JWT_ALGORITHMS"),
        ({"jwt_jwks_url": "http://issuer.example"}, "CARILLON_JWT_JWKS_URL"),
        ({"oidc_issuer": "http://issuer.example"}, "CARILLON_OIDC_ISSUER"),
        ({"oidc_issuer": "https://issuer.example", "jwt_audience": None}, "CARILLON_JWT_AUDIENCE"),
    ],
)
def test_settings_that_contradict_each_other(given: dict[str, Any], at_fault: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TokenVerifier.of(settings(**given))
    assert refused.value.field == at_fault


def test_the_shared_key_alone_needs_nothing_else() -> None:
    plain = Settings(jwt_secret=SecretStr(SECRET), oidc_issuer="https://issuer.example")
    assert TokenVerifier.of(plain).verifies_anything
