"""Finding events in the log, newest first. What no index finds is looked for so far back at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Self

from shared.model.entry import Entry
from shared.model.errors import InvalidInput
from shared.model.patterns import is_pattern, matcher
from shared.ports.event_log import EventLog
from shared.ports.journeys import JourneyStore

SHOWN = 50
# Entries that one page looks at: some 100 ms of either storage, where the log is read in one piece.
SCANNED = 3000
# Of a tag, the index skips what is not its own: so many reads reach far back.
TAG_READS = 12
MAX_TERM_CHARS = 300
MAX_STEPS = 200
MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; what is empty does not matter."""

    find: str = ""
    """An event's id or a trace's. An id with its source is found at once, however old."""
    type: str = ""
    """`*` stands for anything, here and in the next two."""
    source: str = ""
    subject: str = ""
    tag: str = ""
    since: str = ""
    """RFC 3339, or what `datetime-local` sends, in UTC."""
    until: str = ""

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Self:
        """From the query of a URL. Raises `InvalidInput`."""
        told = {each.name: arguments.get(each.name, "").strip() for each in fields(cls)}
        for name, value in told.items():
            if len(value) > MAX_TERM_CHARS:
                raise InvalidInput(name, f"it has {len(value)} characters", f"give at most {MAX_TERM_CHARS}")
        for name in ("since", "until"):
            moment(name, told[name])
        return cls(**told)

    @property
    def told(self) -> dict[str, str]:
        """For the query of a URL, without what is empty."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name))}

    def fits(self, entry: Entry) -> bool:
        """Whether the entry is looked for."""
        since, until = moment("since", self.since), moment("until", self.until)
        return (
            (not self.find or self.find == entry.id or self.find in (entry.traceparent or "").split("-"))
            and _fits(self.type, entry.type)
            and _fits(self.source, entry.source)
            and _fits(self.subject, entry.subject or "")
            and (not self.tag or self.tag in entry.audience)
            and (since is None or entry.appended_at >= since)
            and (until is None or entry.appended_at <= until)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found."""

    entries: Sequence[Entry]
    """Newest first."""
    next: int | None
    """Search on below this position; None where nothing is left."""
    scanned: int
    """How many entries were looked at."""


def moment(field: str, text: str) -> datetime | None:
    """A time in UTC, None for none. Raises `InvalidInput`."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(field, f"{text[:40]!r} is no time", "use 2026-01-31T12:00:00Z") from None


def position_of(text: str | None) -> int | None:
    """A position of the log in an address; None for none. Raises `InvalidInput`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise InvalidInput("position", f"{text[:30]!r} is no position", "use a number of the log, such as 1")
    return int(text)


class Search:
    """Searches one log, and what is known of its events' ways."""

    def __init__(self, event_log: EventLog, journeys: JourneyStore) -> None:
        self._log, self._journeys = event_log, journeys

    async def page(self, wanted: Wanted, before: int | None = None) -> Found:
        """What fits below the position `before`, or from the end of the log."""
        head = await self._log.head()
        top = head.last if before is None else max(0, min(before - 1, head.last))
        if until := moment("until", wanted.until):
            top = min(top, await last_until(self._log, until, head.floor, head.last))
        known = await self._known(wanted) if wanted.find and before is None else []
        if known:
            return Found(known, None, len(known))
        if wanted.tag:
            return await self._tagged(wanted, top, head.floor)
        if wanted.subject and not is_pattern(wanted.subject) and before is None and not wanted.until:
            return await self._stream(wanted)
        return await self._scan(wanted, top, head.floor)

    async def _known(self, wanted: Wanted) -> list[Entry]:
        """Of an event's id or a trace, what its source and the journeys lead to."""
        named = await self._log.positions([(wanted.source, wanted.find)]) if wanted.source else {}
        if named:
            return [entry for entry in await self._log.entries(list(named.values())) if wanted.fits(entry)]
        steps = await self._journeys.of_event(wanted.find, limit=MAX_STEPS)
        steps = steps or await self._journeys.of_trace(wanted.find, limit=MAX_STEPS)
        positions = await self._log.positions({(step.source, step.id) for step in steps})
        entries = await self._log.entries(list(positions.values()))
        return [entry for entry in reversed(entries) if wanted.fits(entry)]

    async def _scan(self, wanted: Wanted, top: int, floor: int) -> Found:
        """Looks at the entries one by one, from the top down."""
        since = moment("since", wanted.since)
        found: list[Entry] = []
        bottom = top
        while bottom > floor and top - bottom < SCANNED:
            window = min(500, bottom - floor)
            entries = (await self._log.read(bottom - window, window)).entries
            for entry in reversed(entries):
                if since is not None and entry.appended_at < since:
                    return Found(found, None, top - bottom + window)
                if wanted.fits(entry):
                    found.append(entry)
                    if len(found) == SHOWN:
                        return Found(found, _more(entry.position, floor), top - entry.position + 1)
            bottom -= window
        return Found(found, _more(bottom + 1, floor), top - bottom)

    async def _tagged(self, wanted: Wanted, top: int, floor: int) -> Found:
        """The same by the tag's index: windows grow while they hold little."""
        found: list[Entry] = []
        bottom, window, scanned = top, 500, 0
        for _ in range(TAG_READS):
            low = max(floor, bottom - window)
            page = await self._log.read(low, 500, [wanted.tag])
            if page.through < bottom:
                window = max(1, window // 8)
                continue
            entries = [entry for entry in page.entries if entry.position <= bottom]
            scanned += len(entries)
            for entry in reversed(entries):
                if wanted.fits(entry):
                    found.append(entry)
                    if len(found) == SHOWN:
                        return Found(found, _more(entry.position, floor), scanned)
            bottom, window = low, window * 8
            if bottom <= floor:
                break
        return Found(found, _more(bottom + 1, floor), scanned)

    async def _stream(self, wanted: Wanted) -> Found:
        """The last events of one subject, by its versions."""
        last = (await self._log.versions([wanted.subject])).get(wanted.subject, 0)
        entries = (await self._log.read_stream(wanted.subject, max(0, last - SHOWN), SHOWN)).entries
        found = [entry for entry in reversed(entries) if wanted.fits(entry)]
        return Found(found, entries[0].position if last > SHOWN and entries else None, len(entries))


async def last_until(log: EventLog, limit: datetime, floor: int, last: int) -> int:
    """The last position that was appended by then: entries are in the order of their times, near enough."""
    low, high = floor, last
    while low < high:
        middle = (low + high + 1) // 2
        entries = (await log.read(middle - 1, 1)).entries
        if not entries or entries[0].appended_at > limit:
            high = middle - 1
        else:
            low = middle
    return high


def _more(position: int, floor: int) -> int | None:
    return position if position - 1 > floor else None


def _fits(pattern: str, value: str) -> bool:
    return not pattern or matcher(pattern).fullmatch(value) is not None
