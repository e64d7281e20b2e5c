"""Numbers and times as people read them: the filters of the pages. Pure but for the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from services.console.steps import LOOKS
from shared.folds.moments import parsed


def number(value: float | None) -> str:
    """1234.5 -> `1,234`; small ones keep the digits that matter; unknown is a dash."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def clock(at: datetime | float) -> str:
    """`12:00:05.123`, UTC."""
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def stamp(at: datetime) -> str:
    """`2026-01-31 12:00:05.123`, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def iso(at: datetime) -> str:
    """RFC 3339, for machines and for the `datetime` of a time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(at: datetime) -> str:
    """`3 min`: how long it has been."""
    return duration(max(0.0, (datetime.now(UTC) - at).total_seconds()) * 1e6)


def duration(us: float | None) -> str:
    """1234 -> `1.2 ms`; unknown is a dash."""
    if us is None:
        return "–"
    for unit, size_us in (("d", 86_400e6), ("h", 3600e6), ("min", 60e6), ("s", 1e6)):
        if us >= size_us:
            return f"{us / size_us:.1f} {unit}"
    return f"{us / 1000:.1f} ms"


def readable(text: str | None) -> str:
    """RFC 3339, as events tell it -> `2026-01-31 12:00:05.123`, UTC; unknown is a dash."""
    moment = parsed(text)
    return "–" if moment is None else stamp(moment)


def since(text: str | None) -> str:
    """How long it has been since a time as events tell it; unknown is a dash."""
    moment = parsed(text)
    return "–" if moment is None else ago(moment)


def site(address: str) -> str:
    """`https://login.example.com/realms/ops` -> `login.example.com`."""
    return urlsplit(address).netloc


def shortened(text: str, most: int) -> str:
    """Its first so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def look(status: str | None) -> str:
    """How a status is drawn: `pending`, `running`, `done`, `failed` or `skipped`."""
    return LOOKS.get(status or "", "pending")


FILTERS: Mapping[str, Callable[..., str]] = {
    "number": number,
    "clock": clock,
    "stamp": stamp,
    "iso": iso,
    "ago": ago,
    "duration": duration,
    "readable": readable,
    "since": since,
    "shortened": shortened,
    "site": site,
    "look": look,
}
