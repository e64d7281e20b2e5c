"""Bearer tokens of any kind: signed by whom the settings trust, in time, and meant for this service.

They are signed with the key that is shared with the backend (HS256), or with a key of the issuer,
whose public half it publishes. What to beware of: RFC 8725.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from joserfc.jwk import Key, OctKey

from shared.identity.issuers import Issuer
from shared.identity.jwts import InvalidToken, SignedText, audiences, checked_times
from shared.identity.keysets import PUBLIC_KEY_ALGORITHMS, KeySet, checked_address
from shared.model.errors import InvalidInput
from shared.model.settings import Settings

SHARED_KEY_ALGORITHM = "HS256"


class ClaimsVerifier:
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
        self._shared_key = None if shared_key is None else shared_key_of(shared_key)
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._algorithms = frozenset(filter(self._has_key_for, algorithms))

    @classmethod
    def of(cls, settings: Settings, issuer: Issuer | None = None) -> Self:
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

    async def claims(self, token: str) -> dict[str, Any]:
        """All that the token says, with a good `exp`. It waits for nothing where the shared key signed.

        Raises `InvalidToken`, naming the claim at fault, and `IssuerUnavailable` where the issuer's
        keys are needed and cannot be had.
        """
        signed = SignedText.parse(token, self._algorithms)
        claims = signed.claims(await self._key(signed))
        checked_times(claims)
        _check_parties(claims, self._issuer, self._audience)
        return claims

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


def shared_key_of(secret: str) -> OctKey:
    """What signs and verifies with a secret."""
    return OctKey.import_key(secret.encode())


def _check_parties(claims: dict[str, Any], issuer: str | None, audience: str | None) -> None:
    if issuer is not None and claims.get("iss") != issuer:
        raise InvalidToken("iss", "it is not the issuer that is trusted here", "see CARILLON_JWT_ISSUER")
    if audience is not None and audience not in audiences(claims):
        raise InvalidToken("aud", "the token is meant for somebody else", "see CARILLON_JWT_AUDIENCE")
