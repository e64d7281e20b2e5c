"""Secrets as they are written down -> the keys that they mean. Pure; errors never show one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.ingest.webhooks.secret_places import NoSecret

KeyEncoding = Literal["text", "hex", "base64"]

SHARED, PUBLIC, PRIVATE = b"whsec_", b"whpk_", b"whsk_"
# The bounds of Standard Webhooks; what is shorter can be guessed.
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64


def decoded_key(secret: bytes, encoding: KeyEncoding) -> bytes:
    """The key of a generic HMAC. Raises `NoSecret`."""
    try:
        key = _DECODERS[encoding](secret)
    except ValueError:
        key = b""
    if not key:
        raise NoSecret(f"it is not {encoding}", "copy it whole, or say what it is: key: text, hex or base64")
    return key


def shared_keys(secrets: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those of Standard Webhooks to check `v1` with: `whsec_<base64>`, or base64 alone. Raises `NoSecret`."""
    return tuple(_shared_key(secret) for secret in secrets if not secret.startswith(PUBLIC))


def public_keys(secrets: Iterable[bytes]) -> tuple[Ed25519PublicKey, ...]:
    """Those of Standard Webhooks to check `v1a` with: `whpk_<base64>`. Raises `NoSecret`."""
    return tuple(_public_key(secret) for secret in secrets if secret.startswith(PUBLIC))


def _shared_key(secret: bytes) -> bytes:
    if secret.startswith(PRIVATE):
        raise NoSecret("it is a private key, which is its sender's alone", "ask for the public one, whpk_…")
    try:
        key = _from_base64(secret.removeprefix(SHARED))
    except ValueError:
        raise NoSecret("it is not base64", "copy it whole, as its sender shows it: whsec_… or whpk_…") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        problem = f"its key has {len(key)} bytes, not {MIN_KEY_BYTES} to {MAX_KEY_BYTES}"
        raise NoSecret(problem, "copy it whole; for a sender that differs from the standard use the kind hmac")
    return key


def _public_key(secret: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(_from_base64(secret.removeprefix(PUBLIC)))
    except ValueError:
        raise NoSecret("it is no ed25519 key of 32 bytes in base64", "copy it whole") from None


def _from_base64(text: bytes) -> bytes:
    """With or without its padding, which some senders leave out. Raises `ValueError`, as `binascii.Error` is one."""
    text = text.rstrip(b"=")
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def _from_hex(text: bytes) -> bytes:
    return bytes.fromhex(text.decode())


_DECODERS: Mapping[KeyEncoding, Callable[[bytes], bytes]] = {"text": bytes, "hex": _from_hex, "base64": _from_base64}
