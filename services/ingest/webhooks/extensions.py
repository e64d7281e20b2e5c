"""Headers as extension attributes of an event. Pure."""

from __future__ import annotations

# As `shared/model/event.py` allows.
MAX_ATTRIBUTE_CHARS = 64


def extension_of(header: str) -> str:
    """The attribute that keeps a header: `X-GitHub-Event` is `httpxgithubevent`.

    The prefix keeps a header named `Audience` from being one.
    """
    return "http" + "".join(filter(str.isalnum, header.lower()))
