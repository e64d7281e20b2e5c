"""Webhooks that are not signed: their sender shows a password or a token, or is on this machine. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.ingest.webhooks.posted import Check, NotAuthentic, Posted
from services.ingest.webhooks.schemes import CannotSign, Keys

AUTHORIZATION = "authorization"

# What browsers send with a request that a page has them make.
_OF_PAGES = ("origin", "sec-fetch-site")
_NOTHING_TO_SIGN = "nothing is signed: the sender shows the secret itself"


@dataclass(frozen=True, slots=True)
class Basic:
    """User and password (RFC 7617), in UTF-8."""

    user: str
    passwords: Keys = field(repr=False)
    challenge: str = 'Basic realm="carillon", charset="UTF-8"'

    def verify(self, posted: Posted, now_s: float) -> None:
        scheme, _, encoded = posted.needed(AUTHORIZATION).partition(" ")
        try:
            given = base64.b64decode(encoded.strip(" "), validate=True)
        except (binascii.Error, ValueError):
            raise NotAuthentic(Check.HEADER_MALFORMED, AUTHORIZATION) from None
        if scheme.lower() != "basic":
            raise NotAuthentic(Check.HEADER_MALFORMED, AUTHORIZATION)
        if not _is_one_of(given, map(self._pair, self.passwords)):
            raise NotAuthentic(Check.CREDENTIALS, AUTHORIZATION)

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        raise CannotSign(_NOTHING_TO_SIGN)

    def _pair(self, password: bytes) -> bytes:
        return self.user.encode() + b":" + password


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, as `Authorization: Bearer <token>` (RFC 6750) or as the whole value of another header."""

    tokens: Keys = field(repr=False)
    header: str = AUTHORIZATION
    challenge: str = 'Bearer realm="carillon"'

    def verify(self, posted: Posted, now_s: float) -> None:
        given = posted.needed(self.header)
        if self.header == AUTHORIZATION:
            scheme, _, given = given.partition(" ")
            if scheme.lower() != "bearer":
                raise NotAuthentic(Check.HEADER_MALFORMED, self.header)
        if not _is_one_of(given.strip(" ").encode("latin-1", errors="replace"), self.tokens):
            raise NotAuthentic(Check.CREDENTIALS, self.header)

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        raise CannotSign(_NOTHING_TO_SIGN)


@dataclass(frozen=True, slots=True)
class Loopback:
    """Nothing is shown; the request must be of a program on the server's own machine.

    A browser there is none: whichever site its user looks at can have it post here.
    """

    challenge: str = "Loopback"

    def verify(self, posted: Posted, now_s: float) -> None:
        if not posted.from_loopback:
            raise NotAuthentic(Check.LOOPBACK, "address")
        for name in _OF_PAGES:
            if posted.header(name) is not None:
                raise NotAuthentic(Check.LOOPBACK, name)

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        return {}


def _is_one_of(given: bytes, expected: Iterable[bytes]) -> bool:
    # Digests have equal lengths, so the comparison does not tell the secret's.
    offered = hashlib.sha256(given).digest()
    return any([hmac.compare_digest(offered, hashlib.sha256(each).digest()) for each in expected])
