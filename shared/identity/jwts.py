"""JWTs that others signed: taken apart, verified, and their claims checked, each fault by its name.

Sources: RFC 7515 (signatures), RFC 7519 (claims), RFC 8725 (what to beware of).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact

from shared.identity.keysets import KeySet
from shared.model.errors import InvalidInput

# The issuer's clock may be ahead of this machine's by so much (RFC 7519, 4.1.4).
LEEWAY_S = 10
# Real ones have 1 to 4 KiB; each is parsed before it is known to be good.
MAX_TOKEN_CHARS = 16 * 1024
_FIELD = "token"


class InvalidToken(InvalidInput):
    """The bearer token is good for nothing here."""

    reason = "invalid-token"


@dataclass(frozen=True, slots=True)
class SignedText:
    """A token taken apart. Nothing in it is to be trusted before `claims` returns."""

    algorithm: str
    kid: str | None
    _parts: CompactSignature

    @classmethod
    def parse(cls, token: str, algorithms: Collection[str]) -> SignedText:
        """Raises `InvalidToken` for what is no JWT, and for an algorithm that is not among those given.

        The list is ours: one from the token itself would let "none" and confused keys in (RFC 8725, 3.1).
        """
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken(_FIELD, f"it has {len(token)} characters", f"send at most {MAX_TOKEN_CHARS}")
        try:
            parts = extract_compact(token.encode(), registry=_REGISTRY)
            header = dict(parts.headers())
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise InvalidToken(_FIELD, "it is not a signed JWT", "send the compact form") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            taken = ", ".join(sorted(algorithms)) or "no token at all is taken here"
            raise InvalidToken(_FIELD, "it is signed with an algorithm that is not taken here", f"use one of: {taken}")
        if kid is not None and not isinstance(kid, str):
            raise InvalidToken(_FIELD, "its key id is not text", "send it as the issuer made it")
        return cls(algorithm, kid, parts)

    async def published_key(self, keys: KeySet) -> Key:
        """The issuer's key that the token names. Raises `InvalidToken` and `IssuerUnavailable`."""
        key = await keys.key(self.algorithm, self.kid)
        if key is None:
            raise InvalidToken(_FIELD, "the issuer publishes no key such as it names", "fetch a new token")
        return key

    def claims(self, key: Key) -> dict[str, Any]:
        """What the token says. Raises `InvalidToken` unless the key signed it."""
        if not self._is_signed_with(key):
            raise InvalidToken(
                _FIELD, "its signature is not by a key that is trusted here", "ask its issuer for a new one"
            )
        try:
            claims = json.loads(self._parts.payload)
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise InvalidToken(_FIELD, "it holds no JSON object", "send a JWT with claims")
        return claims

    def _is_signed_with(self, key: Key) -> bool:
        try:
            return validate_compact(self._parts, key, registry=_REGISTRY)
        except (JoseError, ValueError, TypeError, KeyError):
            return False


class _Registry(JWSRegistry):
    """joserfc's rules for headers: what is `crit` must be understood; other unknown ones are ignored (RFC 7515, 4)."""

    # An issuer may send its certificate's digests along.
    max_header_length = 2048
    max_payload_length = MAX_TOKEN_CHARS

    def get_alg(self, name: str) -> Any:
        """The allow-list has been asked before; and each use of EdDSA would be warned of, as RFC 9864 renames it."""
        return self.algorithms[name]


_REGISTRY = _Registry(strict_check_header=False)


def checked_times(claims: dict[str, Any]) -> float:
    """When the token ends, which it must say. Raises `InvalidToken` where it ended, or has not begun."""
    now = time.time()
    expires_at = seconds(claims, "exp")
    if expires_at is None:
        raise InvalidToken("exp", "it is missing", "say when the token ends")
    if expires_at <= now:  # no leeway: the session that it opens would be over at once
        raise InvalidToken("exp", "the token has expired", "fetch a new one")
    if (not_before := seconds(claims, "nbf")) is not None and not_before > now + LEEWAY_S:
        raise InvalidToken("nbf", "the token is not valid yet", "compare the clocks of issuer and server")
    return expires_at


def seconds(claims: dict[str, Any], name: str) -> float | None:
    """A claim that is a time, since the epoch; None without it. Raises `InvalidToken`."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidToken(name, "it is not a number", "give seconds since 1970-01-01 UTC")
    # Beyond float64 there is no time to compare with.
    return float(min(value, 2**53))


def audiences(claims: dict[str, Any]) -> list[Any]:
    """Whom the token is meant for: `aud` is one name or a list of them (RFC 7519, 4.1.3)."""
    named = claims.get("aud")
    return named if isinstance(named, list) else [named]
