"""Tags and audiences: who may see an event.

A tag is `everyone` or `<kind>:<name>`, such as `user:alice` or `topic:builds/main`. An audience is
a set of tags; a session sees an event when it holds one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from shared.model.errors import InvalidInput

EVERYONE = "everyone"
KINDS = ("user", "topic", "session", "connection")
# The edges' own: what ends sessions and connections of a user, wherever they are.
CONTROL = "control"
# Theirs, too: what a user's devices do with the inbox and with topics.
INBOX = "inbox"

# A tag is an AMQP routing key, which the protocol limits to 255 bytes.
MAX_TAG_BYTES = 200
# A thousand recipients fit the default size limit of an event; more of them are a topic.
MAX_AUDIENCE_TAGS = 2000

_TAG = re.compile(rf"everyone|(?:{'|'.join((*KINDS, CONTROL, INBOX))}):[^\s\x00-\x1f\x7f\ud800-\udfff]+")


def user_tag(sub: str) -> str:
    """The tag of one user; raises `InvalidInput` where the subject cannot be one."""
    return checked_tag(f"user:{sub}")


def inbox_tag(sub: str) -> str:
    """What a user's marks and subscriptions are addressed to, and no page ever sees."""
    return checked_tag(f"{INBOX}:{sub}")


def is_internal(tag: str) -> bool:
    """Whether only Carillon itself may address the tag: a producer could act for a user with it."""
    return tag.startswith((f"{CONTROL}:", f"{INBOX}:"))


def checked_tag(tag: str) -> str:
    """Returns the tag itself, or raises `InvalidInput` naming what is wrong with it."""
    if not _TAG.fullmatch(tag):
        raise InvalidInput(
            "audience",
            f"{tag[:80]!r} is not a tag",
            f"use 'everyone' or one of {', '.join(f'{kind}:<name>' for kind in KINDS)}, without white space",
        )
    if len(tag.encode()) > MAX_TAG_BYTES:
        raise InvalidInput("audience", f"the tag {tag[:40]!r}… is too long", f"keep a tag under {MAX_TAG_BYTES} bytes")
    return tag


def parse_audience(text: str) -> tuple[str, ...]:
    """Space-separated tags -> the distinct tags, in the order given. Raises `InvalidInput`."""
    tags = tuple(dict.fromkeys(text.split(" "))) if text else ()
    if len(tags) > MAX_AUDIENCE_TAGS:
        raise InvalidInput("audience", f"{len(tags)} tags", f"address at most {MAX_AUDIENCE_TAGS}, or use a topic")
    for tag in tags:
        checked_tag(tag)
    return tags


def audience_text(tags: Iterable[str]) -> str:
    """The inverse of `parse_audience`."""
    return " ".join(tags)
