"""Producers: who may publish, known by an API key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection, Mapping
from http import HTTPStatus

from shared.web.problem import Refusal

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="carillon"'}
_FIX = "send Authorization: Bearer <key> with a key of CARILLON_PRODUCER_KEYS"


class Producers:
    """The keys that are accepted.

    Args:
        keys: API keys by producer name.
        loopback_only: names whose keys count only for clients on this machine.
    """

    def __init__(self, keys: Mapping[str, str], loopback_only: Collection[str] = ()) -> None:
        self._digests = {name: _digest(key) for name, key in keys.items()}
        self._loopback_only = frozenset(loopback_only)

    def __len__(self) -> int:
        return len(self._digests)

    def identify(self, authorization: str | None, *, from_loopback: bool) -> str:
        """The producer's name. Raises `Refusal`: 401 without a known key, 403 for one that is not for here."""
        name = self._holder(_bearer(authorization))
        if name is None:
            raise Refusal(401, "no producer has this key", field="Authorization", fix=_FIX, headers=_CHALLENGE)
        if name in self._loopback_only and not from_loopback:
            detail = f"the key of {name!r} is for clients on the server's own machine"
            raise Refusal(HTTPStatus.FORBIDDEN, detail, field="Authorization", fix=_FIX)
        return name

    def _holder(self, key: str) -> str | None:
        """Compares with every key: the time taken tells neither which was near nor how near."""
        offered = _digest(key)
        holder = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, offered):
                holder = name
        return holder


def is_loopback(client: str | None) -> bool:
    """Whether this address of a connection's other end is this machine."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _bearer(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refusal(401, "there is no producer key", field="Authorization", fix=_FIX, headers=_CHALLENGE)
    return key.strip()


def _digest(key: str) -> bytes:
    # Equal lengths, so that the comparison does not tell the key's.
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
