"""Who may look, and who may act: known by a key, and then by a cookie of the console's own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from shared.model.errors import InvalidInput
from shared.web.keys import ApiKeys

# A working day; whoever leaves the browser open signs in again the next morning.
SESSION_TTL_S = 10 * 3600

_PURPOSE = b"carillon console cookie v1"
_ALGORITHM = "HS256"
_SETTINGS = "CARILLON_OPERATOR_KEYS or CARILLON_VIEWER_KEYS"


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who signed in."""

    name: str
    may_act: bool
    """Whether more than to look."""
    token: str
    """What each form of theirs carries: another site's page cannot know it."""


class Operators:
    """Everybody who has a key.

    Args:
        operators: keys by name of who may act.
        viewers: keys by name of who may look.
        loopback_only: names whose keys count only on this machine.
    """

    def __init__(
        self, operators: Mapping[str, str], viewers: Mapping[str, str], loopback_only: Collection[str] = ()
    ) -> None:
        if both := sorted(operators.keys() & viewers.keys()):
            problem = f"{both[0]!r} is also in CARILLON_OPERATOR_KEYS"
            raise InvalidInput("CARILLON_VIEWER_KEYS", problem, "give each name one key")
        self._keys = ApiKeys({**viewers, **operators}, _SETTINGS, loopback_only)
        self._acting = frozenset(operators)
        listed = sorted([*operators.items(), *viewers.items()])
        self.fingerprint = repr((listed, sorted(operators))).encode(errors="surrogateescape")

    def __len__(self) -> int:
        return len(self._keys)

    def identify(self, key: str, *, from_loopback: bool) -> Operator:
        """The holder of the key, with a new token. Raises `Refusal`."""
        name = self._keys.identify(f"Bearer {key}", from_loopback=from_loopback)
        return Operator(name, name in self._acting, secrets.token_urlsafe(16))


class OperatorCookie:
    """Makes and reads the cookie.

    A changed list of keys ends all sessions: the cookie's own key is derived from it.

    Args:
        secret: shared by all consoles; None makes one, so that a restart ends the sessions.
        secure: whether it goes over https only.
    """

    def __init__(self, secret: str | None, operators: Operators, *, secure: bool) -> None:
        purpose = _PURPOSE + hashlib.sha256(operators.fingerprint).digest()
        base = secrets.token_hex(32) if secret is None else secret
        self._key = OctKey.import_key(hmac.digest(base.encode(), purpose, hashlib.sha256))
        self.secure = secure
        self.name = "__Host-carillon-console" if secure else "carillon-console"

    def sign(self, operator: Operator) -> str:
        """The cookie's value."""
        claims = {
            "sub": operator.name,
            "act": operator.may_act,
            "csrf": operator.token,
            "exp": int(time.time()) + SESSION_TTL_S,
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key)

    def read(self, value: str | None) -> Operator | None:
        """Whose cookie it is; None for none, a forged and an expired one."""
        try:
            claims = jwt.decode(value or "", self._key, algorithms=[_ALGORITHM]).claims
            if float(claims["exp"]) <= time.time():
                return None
            return Operator(str(claims["sub"]), claims["act"] is True, str(claims["csrf"]))
        except (JoseError, ValueError, KeyError, TypeError):
            return None
