"""Cursors: a place in one log, opaque to clients, and the `id` of every SSE frame."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from shared.model.errors import InvalidCursor

_CURSOR = re.compile(r"([0-9a-z]{1,32})\.(0|[1-9][0-9]{0,18})")


def new_log_id() -> str:
    """Names one incarnation of a log, so that a cursor of another one is never mistaken for ours."""
    return secrets.token_hex(5)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything at or below `position` of log `log_id` has been seen."""

    log_id: str
    position: int

    def __str__(self) -> str:
        return f"{self.log_id}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """`<log id>.<position>` -> Cursor. Raises `InvalidCursor`."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise InvalidCursor(
                "last-event-id",
                f"{text[:60]!r} is not a cursor",
                "send back the id of a frame unchanged, or 'earliest', or nothing to start from now",
            )
        return cls(match[1], int(match[2]))
