"""Sessions: a verified cookie. Pure but for the clock.

The cookie is a JWT of ours (RFC 7519, HS256) under a key that is derived for this one purpose, so
that a cookie is no bearer token and a bearer token no cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from shared.model.errors import InvalidInput
from shared.model.tags import EVERYONE, checked_tag, user_tag

_PURPOSE = b"carillon session cookie v1"
_ALGORITHM = "HS256"


class NoSession(InvalidInput):
    """There is no session, or not any more; the field is the cookie's name."""

    reason = "no-session"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is there, what they may see, and until when."""

    sub: str
    sid: str
    grants: tuple[str, ...]
    """Tags beyond the user's own, as the token granted them."""
    expires_at: int
    """Seconds since the epoch."""

    @property
    def tags(self) -> frozenset[str]:
        """All tags of this session."""
        return frozenset((user_tag(self.sub), f"session:{self.sid}", EVERYONE, *self.grants))

    def seconds_left(self) -> float:
        """Until the session ends; never negative."""
        return max(0.0, self.expires_at - time.time())


class SessionCookie:
    """Makes and reads the cookie."""

    def __init__(self, secret: str, ttl_s: float, *, secure: bool) -> None:
        self._key = OctKey.import_key(hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256))
        self._ttl_s, self.secure = ttl_s, secure
        # The prefix makes browsers refuse the cookie over http, from a subdomain, or for a path.
        self.name = "__Host-carillon" if secure else "carillon"

    def open(self, sub: str, grants: tuple[str, ...], not_after: float) -> Session:
        """A new session, that ends after its own time or with the token that opened it."""
        user_tag(sub)
        expires_at = int(min(time.time() + self._ttl_s, not_after))
        return Session(sub, secrets.token_urlsafe(12), tuple(map(checked_tag, grants)), expires_at)

    def sign(self, session: Session) -> str:
        """The cookie's value."""
        claims = {"sub": session.sub, "sid": session.sid, "tags": list(session.grants), "exp": session.expires_at}
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key)

    def read(self, value: str | None) -> Session:
        """The session of a request. Raises `NoSession` for none, a forged and an expired one."""
        if not value:
            raise self._refused("there is none")
        try:
            claims = jwt.decode(value, self._key, algorithms=[_ALGORITHM]).claims
            session = Session(claims["sub"], claims["sid"], tuple(claims["tags"]), int(claims["exp"]))
        except (JoseError, ValueError, KeyError, TypeError):
            raise self._refused("it is not one of ours") from None
        if session.seconds_left() <= 0:
            raise self._refused("the session has expired")
        return session

    def _refused(self, problem: str) -> NoSession:
        return NoSession(f"cookie {self.name}", problem, "sign in again: POST /v1/session with a bearer token")
