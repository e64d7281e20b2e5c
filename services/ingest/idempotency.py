"""`Idempotency-Key`: a caller's own word for one call, that becomes the ids of the events it publishes.

Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from shared.model.errors import InvalidInput
from shared.model.producer import Producer

HEADER = "Idempotency-Key"
MAX_KEY_CHARS = 255

# The draft has a string in quotes; most who send the header leave them out.
_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"|([\x21\x23-\x7e]+)')


def parse_key(text: str) -> str:
    """The value of the header -> the key. Raises `InvalidInput`."""
    match = _KEY.fullmatch(text.strip(" \t"))
    if match is None or len(text) > MAX_KEY_CHARS:
        problem = "it is empty, too long, or not printable ASCII"
        raise InvalidInput(HEADER, problem, f"send up to {MAX_KEY_CHARS} characters, such as a UUID")
    return match[2] or re.sub(r"\\(.)", r"\1", match[1])


def event_id(producer: Producer, key: str, part: str = "") -> str:
    """The id of the event that a call with this key publishes: the same for each try, and only for this producer.

    Args:
        part: tells apart the events of one call, such as the number of a call in a batch.
    """
    # Lengths, so that no two triples are the same text.
    text = "".join(f"{len(one)}:{one}" for one in (producer.name, key, part))
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def key_of_header(value: str | None) -> str | None:
    """The key that a request brings, if it does. Raises `InvalidInput`."""
    return None if value is None else parse_key(value)


def left_out(producer: Producer, key: str | None = None, part: str = "") -> dict[str, Any]:
    """The attributes of an event that its producer need not give. With a key, the same event at each try.

    Args:
        part: as in `event_id`.
    """
    return {
        "specversion": "1.0",
        "id": event_id(producer, key, part) if key else str(uuid.uuid4()),
        "source": f"/producers/{producer.name}",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
