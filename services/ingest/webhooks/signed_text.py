"""What a sender signs, written as a text with places in it: `v0:{timestamp}:{body}`. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator

from services.ingest.webhooks.schemes import Piece
from shared.model.checks import rule

MAX_CHARS = 200
PLACES: tuple[Literal["body", "timestamp", "id"], ...] = ("body", "timestamp", "id")

_PLACE = re.compile(r"\{([^{}]*)\}")


def pieces_of(text: object) -> tuple[Piece, ...]:
    """The text in pieces. Raises pydantic's error for what is none."""
    if not isinstance(text, str) or len(text) > MAX_CHARS:
        raise rule("it is no short text", 'write one such as "{timestamp}.{body}"')
    # Of a split by a group every second piece is what the group held.
    parts = _PLACE.split(text)
    pieces = tuple(_piece(part, is_place=number % 2 == 1) for number, part in enumerate(parts) if part)
    if pieces.count("body") != 1:
        raise rule("it does not hold {body} once", 'write a text such as "{timestamp}.{body}"')
    return pieces


def _piece(part: str, *, is_place: bool) -> Piece:
    if not is_place:
        return part.encode()
    for place in PLACES:
        if part == place:
            return place
    raise rule(f"there is no {{{part[:40]}}}", f"use {', '.join(f'{{{place}}}' for place in PLACES)}")


SignedText = Annotated[tuple[Piece, ...], BeforeValidator(pieces_of)]
