"""Bearer tokens: JWTs (RFC 7519) that a backend or an issuer hands its users to open a session.

They are signed with the key that is shared with the backend (HS256), or with a key of the issuer,
whose public half it publishes. What to beware of: RFC 8725.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.jwk import Key, OctKey

from services.edge.issuers import Issuer
from services.edge.jwts import (
    MAX_TOKEN_TAGS,
    InvalidToken,
    SignedText,
    audiences,
    checked_grants,
    checked_sub,
    checked_times,
)
from services.edge.keysets import PUBLIC_KEY_ALGORITHMS, KeySet, checked_address
from shared.model.errors import InvalidInput
from shared.model.settings import Settings

# What callers of this module meet of the one below.
__all__ = ["MAX_TOKEN_TAGS", "InvalidToken", "Token", "TokenVerifier", "sign_token"]

SHARED_KEY_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Token:
    """What a verified token says."""

    sub: str
    tags: tuple[str, ...]
    """Granted beyond the user's own tag."""
    expires_at: float
    """Seconds since the epoch."""


def sign_token(
    secret: str,
    sub: str,
    tags: Collection[str] = (),
    ttl_s: float = 3600,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """A token for the user `sub`, valid from now for `ttl_s`. Raises `InvalidInput` for a bad user or tag."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": checked_sub(sub),
        "tags": list(checked_grants("tags", list(tags))),
        "iat": now,
        "exp": now + math.ceil(ttl_s),
        "jti": secrets.token_urlsafe(12),
    }
    claims |= {name: value for name, value in (("iss", issuer), ("aud", audience)) if value is not None}
    return jwt.encode({"alg": SHARED_KEY_ALGORITHM, "typ": "JWT"}, claims, _shared_key(secret))


class TokenVerifier:
    """Says what a bearer token says, once everything about it is right.

    Args:
        shared_key: verifies HS256, and nothing else does; None refuses HS256.
        keys: the issuer's, for all other algorithms; None refuses those.
        algorithms: what a token may be signed with.
        issuer: what `iss` must be; None takes any.
        audience: what `aud` must be or hold; None takes any.
    """

    def __init__(
        self,
        *,
        shared_key: str | None = None,
        keys: KeySet | None = None,
        algorithms: Collection[str],
        issuer: str | None = None,
        audience: str | None = None,
    ) -> None:
        self._shared_key = None if shared_key is None else _shared_key(shared_key)
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._algorithms = frozenset(filter(self._has_key_for, algorithms))

    @classmethod
    def of(cls, settings: Settings, issuer: Issuer | None = None) -> TokenVerifier:
        """As the settings ask for.

        Args:
            issuer: that of `oidc_issuer`, where the login has one already: its documents are fetched once then.

        Raises `InvalidInput`, naming the setting, where they contradict each other.
        """
        shared_key = None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value()
        keys, name = _published_keys(settings, issuer)
        return cls(
            shared_key=shared_key,
            keys=keys,
            algorithms=settings.jwt_algorithms,
            issuer=settings.jwt_issuer or name,
            audience=settings.jwt_audience,
        )

    @property
    def verifies_anything(self) -> bool:
        """Whether there is a key for any of the algorithms."""
        return bool(self._algorithms)

    async def verify(self, token: str) -> Token:
        """The token's content. It waits for nothing where the shared key signed.

        Raises `InvalidToken`, naming the claim at fault, and `IssuerUnavailable` where the issuer's
        keys are needed and cannot be had.
        """
        signed = SignedText.parse(token, self._algorithms)
        return _token(signed.claims(await self._key(signed)), self._issuer, self._audience)

    def _has_key_for(self, algorithm: str) -> bool:
        return (self._shared_key if algorithm == SHARED_KEY_ALGORITHM else self._keys) is not None

    async def _key(self, signed: SignedText) -> Key:
        if signed.algorithm != SHARED_KEY_ALGORITHM:
            assert self._keys is not None
            return await signed.published_key(self._keys)
        assert self._shared_key is not None
        return self._shared_key


def _published_keys(settings: Settings, issuer: Issuer | None) -> tuple[KeySet | None, str | None]:
    """(the issuer's keys, what `iss` must be where no setting says it)."""
    wanted = [name for name in settings.jwt_algorithms if name in PUBLIC_KEY_ALGORITHMS]
    if settings.jwt_jwks_url is not None and not wanted:
        fix = 'set it to ["RS256"], or what the issuer signs with'
        raise InvalidInput("CARILLON_JWT_ALGORITHMS", "it names none that CARILLON_JWT_JWKS_URL has keys for", fix)
    if not wanted:
        return None, None
    if settings.jwt_audience is None:
        # The issuer signs for others, too, with the same keys: RFC 8725, 3.9.
        fix = "set it to the name that the issuer knows this service by"
        raise InvalidInput("CARILLON_JWT_AUDIENCE", "it is not set, though published keys verify tokens", fix)
    if settings.jwt_jwks_url is not None:
        return KeySet.at(checked_address("CARILLON_JWT_JWKS_URL", settings.jwt_jwks_url)), None
    if issuer is None and settings.oidc_issuer is None:
        fix = "set CARILLON_JWT_JWKS_URL or CARILLON_OIDC_ISSUER"
        raise InvalidInput("CARILLON_JWT_ALGORITHMS", f"nothing says where the keys for {wanted[0]} are", fix)
    issuer = issuer or Issuer(str(settings.oidc_issuer))
    return issuer.keys, issuer.name


def _shared_key(secret: str) -> OctKey:
    return OctKey.import_key(secret.encode())


def _token(claims: dict[str, Any], issuer: str | None, audience: str | None) -> Token:
    expires_at = checked_times(claims)
    _check_parties(claims, issuer, audience)
    return Token(checked_sub(claims.get("sub")), checked_grants("tags", claims.get("tags", [])), expires_at)


def _check_parties(claims: dict[str, Any], issuer: str | None, audience: str | None) -> None:
    if issuer is not None and claims.get("iss") != issuer:
        raise InvalidToken("iss", "it is not the issuer that is trusted here", "see CARILLON_JWT_ISSUER")
    if audience is not None and audience not in audiences(claims):
        raise InvalidToken("aud", "the token is meant for somebody else", "see CARILLON_JWT_AUDIENCE")
