"""How webhooks are signed, each scheme over the raw body. Pure.

Keys are never shown: not in `repr`, not in errors. Comparisons take the same time wherever texts differ, and
all keys are tried, so that the time tells neither how near a signature was nor which key it was made with.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.ingest.webhooks.posted import Check, NotAuthentic, Posted
from services.ingest.webhooks.timestamps import Format, check_is_now, seconds_of, text_of
from shared.model.errors import CarillonError

# A sender that changes its key signs with two. An ed25519 signature costs some 100 µs to refuse, and a
# header could hold hundreds.
MAX_SIGNATURES = 10
# Clocks differ, and a request may wait in a proxy; Stripe and Standard Webhooks both name five minutes.
DEFAULT_TOLERANCE_S = 300.0

Algorithm = Literal["sha1", "sha256", "sha384", "sha512"]
Encoding = Literal["hex", "base64", "base64url"]
Piece = bytes | Literal["body", "timestamp", "id"]
"""Of a text that is signed: bytes as they are, or what was sent in that place."""
Keys = tuple[bytes, ...]
"""The current one first."""


class CannotSign(CarillonError):
    """There is nothing to sign here, or nothing to sign with; the message says why."""


class Scheme(Protocol):
    """One way to know who sent a request."""

    @property
    def challenge(self) -> str:
        """What a 401 asks for in `WWW-Authenticate`, which it must (RFC 9110, 11.6.1)."""
        ...

    def verify(self, posted: Posted, now_s: float) -> None:
        """Raises `NotAuthentic`, and nothing else, whatever was posted.

        The signature comes before the timestamp: of what nobody signed nobody needs to know when.
        """
        ...

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        """The headers with which a sender would send `body`. Raises `CannotSign`."""
        ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """A timestamp in a header of its own."""

    header: str
    format: Format
    tolerance_s: float


@dataclass(frozen=True, slots=True)
class Hmac:
    """A header with the HMAC of the body, or of a text around it (RFC 2104). GitHub's is the plain case.

    Args:
        signed: what is signed.
        id_header: where `id` stands.
    """

    keys: Keys = field(repr=False)
    header: str
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    signed: Sequence[Piece] = ("body",)
    stamp: Stamp | None = None
    id_header: str | None = None
    challenge: str = "Signature"

    def verify(self, posted: Posted, now_s: float) -> None:
        given = posted.needed(self.header)
        if not given.startswith(self.prefix):
            raise NotAuthentic(Check.HEADER_MALFORMED, self.header)
        sent = posted.needed(self.stamp.header) if self.stamp else ""
        id_ = posted.needed(self.id_header) if self.id_header else ""
        content = self._content(posted.body, sent, id_)
        expected = [_encoded(_mac(key, content, self.algorithm), self.encoding) for key in self.keys]
        if not _is_among(_normal(given.removeprefix(self.prefix), self.encoding), expected):
            raise NotAuthentic(Check.SIGNATURE, self.header)
        if self.stamp:
            seconds = seconds_of(sent, self.stamp.format, self.stamp.header)
            check_is_now(seconds, now_s, self.stamp.tolerance_s, self.stamp.header)

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        if self.stamp:
            headers[self.stamp.header] = text_of(now_s, self.stamp.format)
        if self.id_header:
            headers[self.id_header] = id_
        content = self._content(body, headers[self.stamp.header] if self.stamp else "", id_)
        mac = _encoded(_mac(self.keys[0], content, self.algorithm), self.encoding)
        return headers | {self.header: self.prefix + mac.decode()}

    def _content(self, body: bytes, timestamp: str, id_: str) -> bytes:
        sent = {"body": body, "timestamp": _raw(timestamp), "id": _raw(id_)}
        return b"".join(piece if isinstance(piece, bytes) else sent[piece] for piece in self.signed)


def github(keys: Keys) -> Hmac:
    """GitHub's.

    Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    return Hmac(keys, "x-hub-signature-256", prefix="sha256=")


@dataclass(frozen=True, slots=True)
class Stripe:
    """`Stripe-Signature: t=<unix time>,v1=<hex>[,v1=<hex>]`, an HMAC-SHA256 of `<t>.<body>`.

    Source: https://docs.stripe.com/webhooks#verify-manually
    """

    keys: Keys = field(repr=False)
    tolerance_s: float = DEFAULT_TOLERANCE_S
    challenge: str = "Signature"

    HEADER = "stripe-signature"

    def verify(self, posted: Posted, now_s: float) -> None:
        given = posted.needed(self.HEADER)
        pairs = [item.strip(" \t").partition("=")[::2] for item in given.split(",")]
        times = [value for name, value in pairs if name == "t"]
        signatures = [value for name, value in pairs if name == "v1"]
        if len(times) != 1 or not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise NotAuthentic(Check.HEADER_MALFORMED, self.HEADER)
        content = _raw(times[0]) + b"." + posted.body
        expected = [_encoded(_mac(key, content), "hex") for key in self.keys]
        # All are looked at, also after one that fits.
        if not any([_is_among(_normal(signature, "hex"), expected) for signature in signatures]):
            raise NotAuthentic(Check.SIGNATURE, self.HEADER)
        check_is_now(seconds_of(times[0], "unix", self.HEADER), now_s, self.tolerance_s, self.HEADER)

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        sent = text_of(now_s, "unix")
        mac = _encoded(_mac(self.keys[0], sent.encode() + b"." + body), "hex").decode()
        return {self.HEADER: f"t={sent},v1={mac}"}


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """Standard Webhooks 1.0: `v1` with shared keys, `v1a` with public ones, over `<id>.<timestamp>.<body>`.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    keys: Keys = field(repr=False)
    public_keys: tuple[Ed25519PublicKey, ...] = ()
    tolerance_s: float = DEFAULT_TOLERANCE_S
    challenge: str = "Signature"

    ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

    def verify(self, posted: Posted, now_s: float) -> None:
        id_, sent, given = map(posted.needed, (self.ID, self.TIMESTAMP, self.SIGNATURE))
        # With a dot inside, one signature would stand for several ways to cut the text that was signed.
        if not _ID.fullmatch(id_):
            raise NotAuthentic(Check.HEADER_MALFORMED, self.ID)
        signatures = [item.partition(",")[::2] for item in given.split(" ") if item]
        if len(signatures) > MAX_SIGNATURES:
            raise NotAuthentic(Check.HEADER_MALFORMED, self.SIGNATURE)
        content = _signed_content(id_, sent, posted.body)
        expected = [_encoded(_mac(key, content), "base64") for key in self.keys]
        if not any([self._fits(version, signature, expected, content) for version, signature in signatures]):
            raise NotAuthentic(Check.SIGNATURE, self.SIGNATURE)
        check_is_now(seconds_of(sent, "unix", self.TIMESTAMP), now_s, self.tolerance_s, self.TIMESTAMP)

    def sign(self, body: bytes, id_: str, now_s: float) -> Mapping[str, str]:
        if not self.keys:
            raise CannotSign("the source has a public key: only its sender can sign")
        sent = text_of(now_s, "unix")
        mac = _encoded(_mac(self.keys[0], _signed_content(id_, sent, body)), "base64").decode()
        return {self.ID: id_, self.TIMESTAMP: sent, self.SIGNATURE: f"v1,{mac}"}

    def _fits(self, version: str, signature: str, expected: Sequence[bytes], content: bytes) -> bool:
        match version:
            case "v1":
                return _is_among(_normal(signature, "base64"), expected)
            case "v1a":
                return any([_is_signed(content, signature, key) for key in self.public_keys])
            case _:
                return False


# Printable ASCII but the dot.
_ID = re.compile(r"[!-\-/-~]{1,255}")


def _signed_content(id_: str, sent: str, body: bytes) -> bytes:
    return b".".join((_raw(id_), _raw(sent), body))


def _is_signed(content: bytes, signature: str, key: Ed25519PublicKey) -> bool:
    """ed25519 (RFC 8032); nothing here is secret, so nothing needs constant time."""
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _mac(key: bytes, content: bytes, algorithm: Algorithm = "sha256") -> bytes:
    return hmac.digest(key, content, algorithm)


def _encoded(mac: bytes, encoding: Encoding) -> bytes:
    """As text, without the padding of base64."""
    match encoding:
        case "hex":
            return mac.hex().encode()
        case "base64":
            return base64.b64encode(mac).rstrip(b"=")
        case "base64url":
            return base64.urlsafe_b64encode(mac).rstrip(b"=")


def _normal(signature: str, encoding: Encoding) -> bytes:
    """A signature that was sent, as `_encoded` would write it. Texts are compared, so nothing needs decoding."""
    return _raw(signature.lower() if encoding == "hex" else signature.rstrip("="))


def _is_among(given: bytes, expected: Iterable[bytes]) -> bool:
    return any([hmac.compare_digest(given, each) for each in expected])


def _raw(text: str) -> bytes:
    """The bytes that a header's text stood for. Text that no header can hold fits no signature."""
    return text.encode("latin-1", errors="replace")
