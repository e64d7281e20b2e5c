"""Bearer tokens: JWTs (RFC 7519) that a backend or an issuer hands its users to open a session.

Whose signature counts: `shared/identity/verifier.py`.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from joserfc import jwt

from services.edge.claims import checked_grants, checked_sub
from shared.identity.jwts import InvalidToken, checked_times
from shared.identity.verifier import SHARED_KEY_ALGORITHM, ClaimsVerifier, shared_key_of
from shared.model.producer import PUBLISH_CLAIM


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
    return jwt.encode({"alg": SHARED_KEY_ALGORITHM, "typ": "JWT"}, claims, shared_key_of(secret))


class TokenVerifier(ClaimsVerifier):
    """Says whose session a token opens."""

    async def verify(self, token: str) -> Token:
        """The token's content. Raises `InvalidToken` and `IssuerUnavailable`, as `claims` does."""
        claims = await self.claims(token)
        if PUBLISH_CLAIM in claims:
            # A kind of its own (RFC 8725, 3.12): whoever gives a machine a key gives it no user's streams.
            raise InvalidToken(PUBLISH_CLAIM, "the token is for publishing", "use one that names a user")
        grants = checked_grants("tags", claims.get("tags", []))
        return Token(checked_sub(claims.get("sub")), grants, checked_times(claims))
