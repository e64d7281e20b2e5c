"""Bearer tokens: JWTs (RFC 7519) signed with HS256, that a backend hands its users to open a session."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import OctKey

from shared.model.errors import InvalidInput
from shared.model.tags import checked_tag, user_tag

# Fixed: a list from the token itself would let "none" and confused keys in (RFC 8725, 3.1).
_ALGORITHM = "HS256"
# The issuer's clock may be ahead of this machine's by so much (RFC 7519, 4.1.4).
_LEEWAY_S = 10
_FIELD = "token"
# A session's tags travel in its cookie, which browsers limit to 4 KiB.
MAX_TOKEN_TAGS = 50


class InvalidToken(InvalidInput):
    """The bearer token opens no session."""

    reason = "invalid-token"


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
    user_tag(sub)
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": sub,
        "tags": [checked_tag(tag) for tag in tags],
        "iat": now,
        "exp": now + math.ceil(ttl_s),
        "jti": secrets.token_urlsafe(12),
    }
    claims |= {name: value for name, value in (("iss", issuer), ("aud", audience)) if value is not None}
    return jwt.encode({"alg": _ALGORITHM, "typ": "JWT"}, claims, _key(secret))


def verify_token(token: str, secret: str, issuer: str | None = None, audience: str | None = None) -> Token:
    """The token's content. Raises `InvalidToken`, naming the claim at fault.

    Args:
        issuer: what `iss` must be; None takes any.
        audience: what `aud` must be or hold; None takes any.
    """
    claims = _signed_claims(token, secret)
    expires_at = _check_times(claims)
    _check_parties(claims, issuer, audience)
    return Token(_checked_sub(claims.get("sub")), _checked_tags(claims.get("tags", [])), expires_at)


def _key(secret: str) -> OctKey:
    return OctKey.import_key(secret.encode())


def _signed_claims(token: str, secret: str) -> dict[str, Any]:
    try:
        return dict(jwt.decode(token, _key(secret), algorithms=[_ALGORITHM]).claims)
    except BadSignatureError:
        raise InvalidToken(_FIELD, "its signature is not by our key", "sign it with CARILLON_JWT_SECRET") from None
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise InvalidToken(_FIELD, f"it is not a JWT signed with {_ALGORITHM}", "send the compact form") from None


def _check_times(claims: dict[str, Any]) -> float:
    now = time.time()
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise InvalidToken("exp", "it is missing", "say when the token ends")
    if expires_at <= now:  # no leeway: the session that it opens would be over at once
        raise InvalidToken("exp", "the token has expired", "fetch a new one")
    if (not_before := _seconds(claims, "nbf")) is not None and not_before > now + _LEEWAY_S:
        raise InvalidToken("nbf", "the token is not valid yet", "compare the clocks of issuer and server")
    return expires_at


def _seconds(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidToken(name, "it is not a number", "give seconds since 1970-01-01 UTC")
    # Beyond float64 there is no time to compare with.
    return float(min(value, 2**53))


def _check_parties(claims: dict[str, Any], issuer: str | None, audience: str | None) -> None:
    if issuer is not None and claims.get("iss") != issuer:
        raise InvalidToken("iss", "it is not the issuer that is trusted here", "see CARILLON_JWT_ISSUER")
    named = claims.get("aud")
    if audience is not None and audience not in (named if isinstance(named, list) else [named]):
        raise InvalidToken("aud", "the token is meant for somebody else", "see CARILLON_JWT_AUDIENCE")


def _checked_sub(sub: Any) -> str:
    if not isinstance(sub, str) or not sub:
        raise InvalidToken("sub", "it names no user", "give the user's id as a non-empty string")
    try:
        user_tag(sub)
    except InvalidInput as refused:
        raise InvalidToken("sub", refused.problem, "use an id without white space, at most 195 bytes") from None
    return sub


def _checked_tags(tags: Any) -> tuple[str, ...]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidToken("tags", "it is not a list of strings", 'use ["topic:builds"], or leave it out')
    if len(tags) > MAX_TOKEN_TAGS:
        raise InvalidToken("tags", f"{len(tags)} tags", f"grant at most {MAX_TOKEN_TAGS}")
    try:
        return tuple(dict.fromkeys(map(checked_tag, tags)))
    except InvalidInput as refused:
        raise InvalidToken("tags", refused.problem, refused.fix) from None
