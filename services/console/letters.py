"""Dead letters: which of them, what they hold, and what may become of them. For the page and for `carillon dead`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

from services.console.acts import Actor, tell_act
from shared.model.errors import InvalidEvent, InvalidInput
from shared.model.event import Event, decoded_json
from shared.ports.broker import Broker, DeadLetter

# As many as RabbitMQ shows and settles at once: the oldest. What comes after them is seen once these are gone.
LOOKED_AT = 500
MAX_FIND_CHARS = 300
# Names in the event that tells of an act; the count tells of all.
MAX_TOLD_IDS = 100
# Of a body that is not text.
DUMPED_BYTES = 1024
DUMP_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters; what is empty does not matter."""

    reason: str = ""
    find: str = ""
    """In the body, in what was wrong with it, or in its attributes."""

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Self:
        """From the query of a URL, or a form. Raises `InvalidInput`."""
        told = {each.name: arguments.get(each.name, "").strip() for each in fields(cls)}
        for name, value in told.items():
            if len(value) > MAX_FIND_CHARS:
                raise InvalidInput(name, f"it has {len(value)} characters", f"give at most {MAX_FIND_CHARS}")
        return cls(**told)

    @property
    def told(self) -> dict[str, str]:
        """For the query of a URL, without what is empty."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name))}

    def fits(self, letter: DeadLetter) -> bool:
        """Whether the letter is chosen."""
        if self.reason not in ("", letter.reason):
            return False
        told = (letter.id, letter.detail, *letter.attributes.values())
        return self.find.encode(errors="replace") in letter.body or any(self.find in each for each in told)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a look found."""

    letters: Sequence[DeadLetter]
    """Those that fit, the oldest first."""
    reasons: Mapping[str, int]
    """How often each reason is among all that were looked at."""
    looked_at: int
    total: int
    """How many there are, as the broker counts them: it may lag."""

    @property
    def is_cut(self) -> bool:
        """There may be more than were looked at."""
        return self.looked_at >= LOOKED_AT


async def listed(broker: Broker, choice: Choice) -> Listing:
    """Those of the oldest letters that fit."""
    # Before the look: what it has in hand, RabbitMQ does not count.
    counted = (await broker.waiting()).dead
    found = await broker.dead_letters(LOOKED_AT)
    reasons = Counter(letter.reason for letter in found)
    fitting = [letter for letter in found if choice.fits(letter)]
    return Listing(fitting, dict(reasons.most_common()), len(found), max(counted, len(found)))


async def one(broker: Broker, id_: str) -> DeadLetter | None:
    """The letter of that id, None where it is not among the oldest (any more)."""
    return next((letter for letter in await broker.dead_letters(LOOKED_AT) if letter.id == id_), None)


async def requeue(
    broker: Broker, by: Actor, ids: Collection[str], bodies: Mapping[str, bytes] | None = None
) -> Collection[str]:
    """Has the persister try them again; returns those that were found."""
    await tell_act(broker, by, "dead-letters.requeue", _about(ids) | {"edited": sorted(bodies or {})})
    return await broker.requeue_dead(ids, bodies)


async def drop(broker: Broker, by: Actor, ids: Collection[str]) -> Collection[str]:
    """Throws them away for good; returns those that were found."""
    await tell_act(broker, by, "dead-letters.drop", _about(ids))
    return await broker.drop_dead(ids)


def glimpse(body: bytes) -> Mapping[str, str]:
    """What the body says of which event it would be, where it is JSON."""
    try:
        value = decoded_json(body)
    except InvalidEvent:
        return {}
    told = value if isinstance(value, dict) else {}
    return {name: told[name] for name in ("type", "source", "id", "subject") if isinstance(told.get(name), str)}


def text_of(body: bytes) -> str | None:
    """The body as text that can be edited; None where it is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\r\t" for char in text) else None


def laid_out(text: str) -> str:
    """JSON with a member a line, to be edited; what is none as it is."""
    try:
        return json.dumps(decoded_json(text.encode()), indent=2, ensure_ascii=False)
    except InvalidEvent:
        return text


def dump(body: bytes) -> str:
    """The first bytes of a body that is not text, as hexadecimal and as letters."""
    rows = (body[at : at + DUMP_WIDTH] for at in range(0, min(len(body), DUMPED_BYTES), DUMP_WIDTH))
    return "\n".join(f"{at * DUMP_WIDTH:06x}  {_hex(row)}  {_letters(row)}" for at, row in enumerate(rows))


def edited(text: str, max_bytes: int) -> bytes:
    """The text that an operator wrote, as the event that it must be. Raises `InvalidEvent`."""
    # Forms send CR LF for each line's end.
    body = text.replace("\r\n", "\n").encode(errors="replace")
    Event.from_json(body, max_bytes)
    return body


def _about(ids: Collection[str]) -> dict[str, object]:
    return {"count": len(ids), "ids": sorted(ids)[:MAX_TOLD_IDS]}


def _hex(row: bytes) -> str:
    return row.hex(" ").ljust(DUMP_WIDTH * 3 - 1)


def _letters(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
