"""Who may look, and who may act: known by a key or by an issuer, and then by a cookie of the console's own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from services.console.acts import Actor
from shared.model.errors import InvalidInput
from shared.web.keys import ApiKeys

_PURPOSE = b"carillon console cookie v1"
_ALGORITHM = "HS256"
_SETTINGS = "CARILLON_OPERATOR_KEYS or CARILLON_VIEWER_KEYS"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom the console lets in."""

    actor: Actor
    may_act: bool
    """Whether more than to look."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who signed in."""

    person: Person
    token: str
    """What each form of theirs carries: another site's page cannot know it."""
    ends_at: int
    """When they sign in again, in seconds since the epoch."""

    @property
    def name(self) -> str:
        """What they are called."""
        return self.actor.name

    @property
    def actor(self) -> Actor:
        """Who does what they do, for the log."""
        return self.person.actor

    @property
    def may_act(self) -> bool:
        """Whether more than to look."""
        return self.person.may_act


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

    def identify(self, key: str, *, from_loopback: bool) -> Person:
        """The holder of the key. Raises `Refusal`."""
        name = self._keys.identify(f"Bearer {key}", from_loopback=from_loopback)
        return Person(Actor(name), name in self._acting)


class OperatorCookie:
    """Makes and reads the cookie.

    Args:
        secrets_: shared by all consoles: the first signs, each of them verifies.
        rules: what decides who gets in. Other rules end all sessions: the cookie's own keys are derived from them.
        ttl_s: how long a session lasts.
        secure: whether it goes over https only.
    """

    def __init__(self, secrets_: Sequence[str], rules: bytes, ttl_s: float, *, secure: bool) -> None:
        purpose = _PURPOSE + hashlib.sha256(rules).digest()
        self._keys = [OctKey.import_key(hmac.digest(each.encode(), purpose, hashlib.sha256)) for each in secrets_]
        self.ttl_s, self.secure = ttl_s, secure
        self.name = "__Host-carillon-console" if secure else "carillon-console"

    def open(self, person: Person) -> Operator:
        """A new session of theirs."""
        return Operator(person, secrets.token_urlsafe(16), int(time.time() + self.ttl_s))

    def sign(self, operator: Operator) -> str:
        """The cookie's value."""
        claims = {
            **operator.actor.told,
            "act": operator.may_act,
            "csrf": operator.token,
            "exp": operator.ends_at,
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._keys[0])

    def read(self, value: str | None) -> Operator | None:
        """Whose cookie it is; None for none, a forged and an expired one."""
        for key in self._keys:
            try:
                claims = jwt.decode(value or "", key, algorithms=[_ALGORITHM]).claims
                operator = _operator(claims)
            except (JoseError, ValueError, KeyError, TypeError):
                continue
            return operator if operator.ends_at > time.time() else None
        return None


def _operator(claims: dict[str, Any]) -> Operator:
    actor = Actor(claims["by"], claims.get("issuer"), claims.get("sub"))
    return Operator(Person(actor, claims["act"] is True), claims["csrf"], int(claims["exp"]))
