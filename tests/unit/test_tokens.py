"""Bearer tokens: what is signed is read back, and everything else is refused by name."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from services.edge.claims import MAX_TOKEN_TAGS
from services.edge.tokens import sign_token
from shared.identity.jwts import InvalidToken
from shared.model.errors import InvalidInput
from tests.harness.tokens import verify_token

SECRET = "s" * 32
# Of the collection: the whole suite may have run for minutes when these tests do.
NOW = int(time.time())


def signed(alg: str = "HS256", secret: str = SECRET, **claims: Any) -> str:
    full = {"sub": "alice", "exp": NOW + 3600} | claims
    present = {name: value for name, value in full.items() if value is not ...}
    return jwt.encode({"alg": alg}, present, OctKey.import_key(secret.encode()), algorithms=[alg])


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_round_trip() -> None:
    token = verify_token(sign_token(SECRET, "alice", ["topic:builds"], 600), SECRET)
    assert (token.sub, token.tags) == ("alice", ("topic:builds",))
    assert 500 < token.expires_at - time.time() <= 601


def test_issuer_and_audience_round_trip() -> None:
    text = sign_token(SECRET, "alice", (), 600, "https://issuer", "carillon")
    assert verify_token(text, SECRET, "https://issuer", "carillon").sub == "alice"


@pytest.mark.parametrize("sub", ["", "a b", "a\nb", "x" * 300])
def test_signs_no_user_that_cannot_be_a_tag(sub: str) -> None:
    with pytest.raises(InvalidInput):
        sign_token(SECRET, sub)


@pytest.mark.parametrize(
    ("claims", "field"),
    [
        ({"exp": ...}, "exp"),
        ({"exp": NOW - 60}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"nbf": NOW + 3600}, "nbf"),
        ({"nbf": "soon"}, "nbf"),
        ({"sub": ...}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a b"}, "sub"),
        ({"sub": "x" * 300}, "sub"),
        ({"tags": "topic:builds"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"tags": ["nonsense"]}, "tags"),
        ({"tags": ["topic:a\nb"]}, "tags"),
        ({"tags": [f"topic:{number}" for number in range(MAX_TOKEN_TAGS + 1)]}, "tags"),
        ({"iss": ...}, "iss"),
        ({"iss": "https://other"}, "iss"),
        ({"aud": ...}, "aud"),
        ({"aud": ["other", "more"]}, "aud"),
    ],
)
def test_a_bad_claim_is_refused_by_name(claims: dict[str, Any], field: str) -> None:
    good = {"iss": "https://issuer", "aud": "carillon"}
    with pytest.raises(InvalidToken) as refused:
        verify_token(signed(**good | claims), SECRET, "https://issuer", "carillon")
    assert refused.value.field == field


@pytest.mark.parametrize("claims", [{"exp": 10**30}, {"nbf": NOW + 5}, {"aud": ["x", "carillon"]}, {"tags": []}])
def test_lawful_oddities_pass(claims: dict[str, Any]) -> None:
    assert verify_token(signed(**{"aud": "carillon"} | claims), SECRET, audience="carillon").sub == "alice"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "a.b.c",
        "ü.ü.ü",
        f"{part({'alg': 'none'})}.{part({'sub': 'alice', 'exp': 2**33})}.",
        f"{part(['alg'])}.{part({})}.x",
        signed(alg="HS512", secret="s" * 64),
        signed(secret="other" * 8),
        signed()[:-3],
        "x" * 100_000,
    ],
)
def test_what_is_not_signed_by_us_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken) as refused:
        verify_token(token, SECRET)
    assert refused.value.field == "token"
