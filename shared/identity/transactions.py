"""Logins under way: what this server must know again when the issuer sends the browser back. Pure but for the clock.

Each is a signed cookie of its own, so that two tabs can log in at once and any process of a service can
finish what another began. PKCE's verifier (RFC 7636) and the nonce follow from the state by the server's key:
the cookie does not hold them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from shared.model.errors import InvalidInput

# Time to find a password and a second factor.
TRANSACTION_TTL_S = 600
# Tabs that log in at once; each costs up to 1.2 KiB in the headers of a login, of which nginx takes 8 KiB.
MAX_OPEN_LOGINS = 5
MAX_RETURN_TO_CHARS = 512

_PURPOSE = b"carillon login transaction v1"
_ALGORITHM = "HS256"
# RFC 3986's characters of path, query and fragment: nothing that a browser takes for another, as it does
# with "\" for "/", and drops, as it does with tabs.
_RETURN_TO = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/?%#\[\]-]*")
_STATE = re.compile(r"[A-Za-z0-9_-]{32}")


class LoginRefused(InvalidInput):
    """This login goes no further.

    Args:
        status: the HTTP status of the answer.
    """

    reason = "login-refused"

    def __init__(self, field: str, problem: str, fix: str, *, status: int = 400) -> None:
        super().__init__(field, problem, fix)
        self.status = status


@dataclass(frozen=True, slots=True)
class Transaction:
    """One login under way."""

    state: str
    """Names it, to the issuer and back (RFC 6749, 10.12)."""
    return_to: str
    """The path that the user wanted."""
    redirect_uri: str
    """Where the issuer was asked to come back to: the exchange must name the same."""
    expires_at: int
    """Seconds since the epoch."""
    nonce: str
    verifier: str


class Transactions:
    """Makes and reads the cookies.

    Args:
        secrets_: the first signs; each of them verifies.
        path: where the login is. The cookies of one are nothing to another, even of the same secrets.
        secure: whether the cookies go over https only.
    """

    def __init__(self, secrets_: Sequence[str], path: str, *, secure: bool) -> None:
        purpose = _PURPOSE + b" " + path.encode()
        self._keys = [hmac.digest(secret.encode(), purpose, hashlib.sha256) for secret in secrets_]
        self.path, self.secure = path, secure
        # `__Host-` would need the path `/`, and send them along with everything.
        self._prefix = "__Secure-carillon-login-" if secure else "carillon-login-"

    def begin(self, return_to: str, redirect_uri: str) -> Transaction:
        """A new one. Raises `LoginRefused` where `return_to` is not a path of ours."""
        expires_at = int(time.time()) + TRANSACTION_TTL_S
        state = secrets.token_urlsafe(24)
        return _transaction(self._keys[0], state, checked_return_to(return_to), redirect_uri, expires_at)

    def cookie(self, transaction: Transaction) -> tuple[str, str]:
        """The cookie's name and value."""
        claims = {
            "state": transaction.state,
            "to": transaction.return_to,
            "back": transaction.redirect_uri,
            "exp": transaction.expires_at,
        }
        return self._name(transaction.state), jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(self._keys[0]))

    def find(self, state: str | None, cookies: Mapping[str, str]) -> Transaction:
        """The one that the issuer's answer belongs to. Raises `LoginRefused` where this browser did not begin it.

        Without that check an attacker could log a victim in as somebody else (RFC 6749, 10.12).
        """
        if state is None or not _STATE.fullmatch(state):
            raise LoginRefused("state", "it is missing, or not one of ours", "begin the login again")
        found = self._read(cookies.get(self._name(state), ""))
        if found is None or not hmac.compare_digest(found.state, state):
            problem = "this browser did not begin this login, or has finished it already"
            raise LoginRefused("state", problem, "begin the login again, and allow cookies")
        if found.expires_at <= time.time():
            raise LoginRefused("state", "this login took too long", "begin it again")
        return found

    def surplus(self, cookies: Mapping[str, str]) -> list[str]:
        """The names of the cookies that must go before one more login begins: what is over, and the oldest."""
        open_until: dict[str, float] = {}
        for name in cookies:
            if name.startswith(self._prefix):
                found = self._read(cookies[name])
                open_until[name] = 0.0 if found is None else found.expires_at
        newest_first = sorted(open_until, key=lambda name: open_until[name], reverse=True)
        over = [name for name in newest_first if open_until[name] <= time.time()]
        return list(dict.fromkeys([*newest_first[MAX_OPEN_LOGINS - 1 :], *over]))

    def _name(self, state: str) -> str:
        return self._prefix + hashlib.sha256(state.encode()).hexdigest()[:16]

    def _read(self, value: str) -> Transaction | None:
        for key in self._keys:
            try:
                claims: dict[str, Any] = jwt.decode(value, OctKey.import_key(key), algorithms=[_ALGORITHM]).claims
                return _transaction(key, claims["state"], claims["to"], claims["back"], int(claims["exp"]))
            except (JoseError, ValueError, KeyError, TypeError):
                continue
        return None


def _transaction(key: bytes, state: str, return_to: str, redirect_uri: str, expires_at: int) -> Transaction:
    nonce, verifier = (_derived(key, purpose, state) for purpose in (b"nonce", b"verifier"))
    return Transaction(state, return_to, redirect_uri, expires_at, nonce, verifier)


def _derived(key: bytes, purpose: bytes, state: str) -> str:
    """43 characters that only this server can tell from the state; as PKCE wants them (RFC 7636, 4.1)."""
    digest = hmac.digest(key, purpose + b" " + state.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def checked_return_to(text: str) -> str:
    """Returns the path itself. Raises `LoginRefused` for what could lead to another site."""
    if len(text) > MAX_RETURN_TO_CHARS or not _RETURN_TO.fullmatch(text) or "//" in text:
        fix = f"give a path with its query, such as /inbox?all=1, percent-encoded, at most {MAX_RETURN_TO_CHARS} long"
        raise LoginRefused("return_to", "it is not a path of this site", fix)
    return text
