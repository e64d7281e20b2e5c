"""API keys as text: made, told from other secrets, and known by their digests. Pure but for chance.

`ck_<id>_<secret><checksum>`. The prefix tells scanners of repositories what they found, the id tells people
which key it is, and the checksum tells a mistyped or made-up key without asking anybody.
"""

from __future__ import annotations

import re
import secrets
import string
from binascii import crc32
from hashlib import sha256

ID_CHARS = 8
# 5.95 bits each: nobody guesses it, so that a plain hash protects it as well as a slow one would.
SECRET_CHARS = 40

_ALPHABET = string.ascii_letters + string.digits
_ID_ALPHABET = string.ascii_lowercase + string.digits
_KEY = re.compile(rf"(ck_([a-z0-9]{{{ID_CHARS}}})_[A-Za-z0-9]{{{SECRET_CHARS}}})([0-9a-f]{{8}})")


def new_key() -> str:
    """A key that nobody had before."""
    id_ = "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_CHARS))
    text = f"ck_{id_}_" + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARS))
    return text + _checksum(text)


def id_of(key: str) -> str | None:
    """The id in a key; None for a text that `new_key` never made."""
    match = _KEY.fullmatch(key)
    return match[2] if match and match[3] == _checksum(match[1]) else None


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return sha256(key.encode()).hexdigest()


def _checksum(text: str) -> str:
    return f"{crc32(text.encode()):08x}"
