"""What a token may say of a session: its user, and the tags that it grants. Pure."""

from __future__ import annotations

import json
from typing import Any

from shared.identity.jwts import InvalidToken
from shared.model.errors import InvalidInput
from shared.model.tags import CONTROL, checked_tag, is_internal, user_tag

# A session's tags travel in its cookie, which browsers limit to 4 KiB with all that is in it.
MAX_TOKEN_TAGS = 50
MAX_TAGS_BYTES = 2048
_TOPIC = "topic:"


def checked_sub(sub: Any) -> str:
    """The user's id. Raises `InvalidToken` where it cannot be one."""
    if not isinstance(sub, str) or not sub:
        raise InvalidToken("sub", "it names no user", "give the user's id as a non-empty string")
    try:
        user_tag(sub)
        checked_tag(f"{CONTROL}:{sub}")  # longer by three bytes
    except (InvalidInput, UnicodeEncodeError):
        raise InvalidToken(
            "sub", "it cannot be a user here", "use an id without white space, at most 192 bytes"
        ) from None
    return sub


def checked_grants(claim: str, tags: Any) -> tuple[str, ...]:
    """The distinct tags that a token grants: exact ones, and patterns of topics such as `topic:builds/*`.

    Args:
        claim: its name, for the error.

    Raises `InvalidToken` for what is no list of tags, and for tags that no token may grant.
    """
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidToken(claim, "it is not a list of strings", 'use ["topic:builds"], or leave it out')
    if len(tags) > MAX_TOKEN_TAGS:
        raise InvalidToken(claim, f"{len(tags)} tags", f"grant at most {MAX_TOKEN_TAGS}")
    if len(json.dumps(tags)) > MAX_TAGS_BYTES:
        fix = f"grant at most {MAX_TAGS_BYTES} bytes of JSON, and patterns such as topic:builds/* for many topics"
        raise InvalidToken(claim, "its tags do not fit a cookie", fix)
    return tuple(dict.fromkeys(_checked_grant(claim, tag) for tag in tags))


def _checked_grant(claim: str, tag: str) -> str:
    try:
        checked_tag(tag)
    except InvalidInput as refused:
        raise InvalidToken(claim, refused.problem, refused.fix) from None
    except UnicodeEncodeError:
        raise InvalidToken(claim, "a tag is not Unicode text", "use whole characters") from None
    if is_internal(tag):
        raise InvalidToken(claim, f"{tag[:80]!r} is not for tokens", "leave it out: it is how the edges talk")
    if "*" in tag and not tag.startswith(_TOPIC):
        raise InvalidToken(claim, f"{tag[:80]!r} is a pattern", "use * in topics only, such as topic:builds/*")
    return tag
