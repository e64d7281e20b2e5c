"""Sessions: a verified cookie. Pure but for the clock.

The cookie's key is derived for this one purpose, so that a cookie is no bearer token, and neither a bearer
token nor what is stored of a ticket is a cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from shared.model.errors import InvalidInput
from shared.model.tags import EVERYONE, checked_tag, user_tag

# Cookies of ours that were verified, of up to 4 KiB each: a signature takes longer than the rest of reading one, and a
# page asks again and again.
KEPT_COOKIES = 2000

_PURPOSE = b"carillon session cookie v1"
_ALGORITHM = "HS256"


class NoSession(InvalidInput):
    """There is no session, or not any more; the field is the cookie's name."""

    reason = "no-session"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is there, what they may see, and until when. Times are seconds since the epoch."""

    sub: str
    sid: str
    grants: tuple[str, ...]
    """Tags and topic patterns beyond the user's own, as the token granted them."""
    opened_at: float
    expires_at: int
    not_after: int
    """No renewal goes beyond it."""

    @property
    def own_tags(self) -> frozenset[str]:
        """What the session holds whatever was granted."""
        return frozenset((user_tag(self.sub), f"session:{self.sid}", EVERYONE))

    def seconds_left(self) -> float:
        """Until the session ends; never negative."""
        return max(0.0, self.expires_at - time.time())


class Seal:
    """Sessions as text that only this server can have written: a JWT of ours (RFC 7519, HS256).

    Args:
        secrets_: the first signs; each of them verifies, so that the key can be changed under way.
        purpose: what the text is good for; it is good for nothing else, as each purpose has a key of its own.
    """

    def __init__(self, secrets_: Sequence[str], purpose: bytes) -> None:
        self._keys = [_derived(secret, purpose) for secret in secrets_]

    def sealed(self, session: Session) -> str:
        """The session as text."""
        claims = {
            "sub": session.sub,
            "sid": session.sid,
            "tags": list(session.grants),
            "iat": session.opened_at,
            "exp": session.expires_at,
            "max": session.not_after,
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._keys[0])

    def opened(self, text: str) -> Session | None:
        """The session of a text of ours, also of one that is over; None for any other text."""
        for key in self._keys:
            try:
                claims = jwt.decode(text, key, algorithms=[_ALGORITHM]).claims
                return Session(
                    claims["sub"],
                    claims["sid"],
                    tuple(claims["tags"]),
                    float(claims["iat"]),
                    int(claims["exp"]),
                    int(claims["max"]),
                )
            except (JoseError, ValueError, KeyError, TypeError):
                continue
        return None


class SessionCookie:
    """Makes, reads and renews the cookie.

    Args:
        secrets_: as of a `Seal`.
        ttl_s: how long a session lasts that nobody renews.
        secure: whether it goes over https only.
    """

    def __init__(self, secrets_: Sequence[str], ttl_s: float, *, secure: bool) -> None:
        self._seal = Seal(secrets_, _PURPOSE)
        self._ttl_s, self.secure = ttl_s, secure
        # The prefix makes browsers refuse the cookie over http, from a subdomain, or for a path.
        self.name = "__Host-carillon" if secure else "carillon"
        self._known = lru_cache(KEPT_COOKIES)(self._verified)

    def open(self, sub: str, grants: Sequence[str], not_after: float) -> Session:
        """A new session, renewable until `not_after`: the end of the token that opened it."""
        user_tag(sub)
        now = time.time()
        expires_at = int(min(now + self._ttl_s, not_after))
        return Session(sub, secrets.token_urlsafe(12), tuple(map(checked_tag, grants)), now, expires_at, int(not_after))

    def renewed(self, session: Session) -> Session | None:
        """The same session for longer, once half of its time is over; None where it is not yet, or cannot be."""
        if session.seconds_left() > self._ttl_s / 2:
            return None
        expires_at = int(min(time.time() + self._ttl_s, session.not_after))
        return replace(session, expires_at=expires_at) if expires_at > session.expires_at else None

    def sign(self, session: Session) -> str:
        """The cookie's value."""
        return self._seal.sealed(session)

    def read(self, value: str | None) -> Session:
        """The session of a cookie. Raises `NoSession` for none, a forged and an expired one."""
        if not value:
            raise self.refused("there is none")
        session = self._known(value)
        if session.seconds_left() <= 0:
            raise self.refused("the session has expired")
        return session

    def _verified(self, value: str) -> Session:
        session = self._seal.opened(value)
        if session is None:
            raise self.refused("it is not one of ours")
        return session

    def refused(self, problem: str) -> NoSession:
        """The error that says what is wrong with the cookie, and what to do."""
        return NoSession(f"cookie {self.name}", problem, "sign in again: POST /v1/session with a bearer token")


def _derived(secret: str, purpose: bytes) -> OctKey:
    return OctKey.import_key(hmac.digest(secret.encode(), purpose, hashlib.sha256))
