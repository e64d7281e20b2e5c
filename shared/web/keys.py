"""Who may publish, or operate: known by an API key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection, Mapping
from functools import lru_cache
from http import HTTPStatus

from shared.web.problem import Refusal

# Clients ask again, and to read an address takes 15 µs.
KEPT_ADDRESSES = 1000
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="carillon"'}


class ApiKeys:
    """The keys that are accepted.

    Args:
        keys: API keys by their holder's name.
        setting: where an operator finds them, for the refusal.
        loopback_only: names whose keys count only for clients on this machine.
    """

    def __init__(self, keys: Mapping[str, str], setting: str, loopback_only: Collection[str] = ()) -> None:
        self._fix = f"send Authorization: Bearer <key> with a key of {setting}"
        self._digests = {name: _digest(key) for name, key in keys.items()}
        self._loopback_only = frozenset(loopback_only)

    def __len__(self) -> int:
        return len(self._digests)

    def identify(self, authorization: str | None, *, from_loopback: bool) -> str:
        """The holder's name. Raises `Refusal`: 401 without a known key, 403 for one that is not for here."""
        key = bearer_of(authorization)
        if key is None:
            raise self.refusal("there is no key")
        name = self._holder(key)
        if name is None:
            raise self.refusal("nobody has this key")
        if name in self._loopback_only and not from_loopback:
            detail = f"the key of {name!r} is for clients on the server's own machine"
            raise Refusal(HTTPStatus.FORBIDDEN, detail, field="Authorization", fix=self._fix)
        return name

    def refusal(self, detail: str) -> Refusal:
        """The 401 to raise where what came is good for nothing."""
        return Refusal(401, detail, field="Authorization", fix=self._fix, headers=_CHALLENGE)

    def _holder(self, key: str) -> str | None:
        """Compares with every key: the time taken tells neither which was near nor how near."""
        offered = _digest(key)
        holder = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, offered):
                holder = name
        return holder


@lru_cache(KEPT_ADDRESSES)
def is_loopback(client: str | None) -> bool:
    """Whether this address of a connection's other end is this machine."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def bearer_of(authorization: str | None) -> str | None:
    """The credential of `Authorization: Bearer <credential>`; None where there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    # Equal lengths, so that the comparison does not tell the key's.
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
