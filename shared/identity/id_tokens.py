"""ID tokens: what an issuer says about who has just logged in.

Source: https://openid.net/specs/openid-connect-core-1_0.html, sections 2 and 3.1.3.7
"""

from __future__ import annotations

import hmac
import time
from typing import Any

from shared.identity.issuers import Issuer
from shared.identity.jwts import LEEWAY_S, InvalidToken, SignedText, audiences, checked_times, seconds
from shared.identity.keysets import PUBLIC_KEY_ALGORITHMS

# It comes straight from the issuer, made for this login: an old one was made for another.
MAX_AGE_S = 600.0


class IdTokenVerifier:
    """Checks the ID tokens that an issuer makes for one client.

    Only published keys verify them: the client's secret, that HS256 would use, is known to more than the issuer.
    """

    def __init__(self, issuer: Issuer, client_id: str) -> None:
        self._issuer, self._client_id = issuer, client_id

    async def verify(self, token: str, nonce: str) -> dict[str, Any]:
        """The token's claims. Raises `InvalidToken`, naming the one at fault, and `IssuerUnavailable`.

        Args:
            nonce: what this login asked for: another's token does not hold it.
        """
        signed = SignedText.parse(token, PUBLIC_KEY_ALGORITHMS)
        claims = signed.claims(await signed.published_key(self._issuer.keys))
        self._check_parties(claims)
        checked_times(claims)
        _check_age(claims)
        _check_nonce(claims, nonce)
        return claims

    def _check_parties(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self._issuer.name:
            raise InvalidToken("iss", "it is another issuer", "compare CARILLON_OIDC_ISSUER with the issuer's own name")
        meant_for = audiences(claims)
        if self._client_id not in meant_for:
            raise InvalidToken("aud", "it is meant for another client", "compare CARILLON_OIDC_CLIENT_ID")
        # Of several audiences, only the one that asked for the token may use it to log in.
        if claims.get("azp", None if len(meant_for) > 1 else self._client_id) != self._client_id:
            raise InvalidToken("azp", "it was made for another client", "compare CARILLON_OIDC_CLIENT_ID")


def _check_age(claims: dict[str, Any]) -> None:
    made_at = seconds(claims, "iat")
    if made_at is None:
        raise InvalidToken("iat", "it is missing", "have the issuer say when it made the token")
    if not -LEEWAY_S <= time.time() - made_at <= MAX_AGE_S:
        raise InvalidToken("iat", "it was not made just now", "compare the clocks of issuer and server")


def _check_nonce(claims: dict[str, Any], nonce: str) -> None:
    found = claims.get("nonce")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(errors="replace"), nonce.encode()):
        raise InvalidToken("nonce", "it belongs to another login", "begin the login again")
