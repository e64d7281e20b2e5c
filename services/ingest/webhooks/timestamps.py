"""When a webhook says that it was sent, and whether that is now. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from services.ingest.webhooks.posted import Check, NotAuthentic

Format = Literal["unix", "unix-ms", "rfc3339"]

# Until the year 5138; Python's int() would take spaces, underscores and any script's digits.
_SECONDS, _MILLISECONDS = re.compile(r"[0-9]{1,11}"), re.compile(r"[0-9]{1,14}")
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")


def check_is_now(sent_s: float, now_s: float, tolerance_s: float, about: str) -> None:
    """Raises `NotAuthentic` for what was sent too long ago, or not yet; the bounds themselves are inside."""
    if sent_s < now_s - tolerance_s:
        raise NotAuthentic(Check.TIMESTAMP_STALE, about)
    if sent_s > now_s + tolerance_s:
        raise NotAuthentic(Check.TIMESTAMP_FUTURE, about)


def seconds_of(text: str, format_: Format, about: str) -> float:
    """The time in seconds since 1970. Raises `NotAuthentic`."""
    seconds = _READERS[format_](text)
    if seconds is None:
        raise NotAuthentic(Check.TIMESTAMP_MALFORMED, about)
    return seconds


def text_of(seconds: float, format_: Format) -> str:
    """The inverse of `seconds_of`, for who signs."""
    match format_:
        case "unix":
            return str(int(seconds))
        case "unix-ms":
            return str(int(seconds * 1000))
        case "rfc3339":
            return rfc3339(seconds)


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC. Raises `ValueError`, `OverflowError` beyond the year 9999."""
    return in_utc(datetime.fromtimestamp(seconds, UTC))


def in_utc(time: datetime) -> str:
    """A time that knows its zone as RFC 3339 in UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _unix(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None


def _unix_ms(text: str) -> float | None:
    return int(text) / 1000 if _MILLISECONDS.fullmatch(text) else None


def _from_rfc3339(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.upper()).timestamp() if _RFC3339.fullmatch(text) else None
    except (ValueError, OverflowError):
        return None


_READERS: dict[Format, Callable[[str], float | None]] = {
    "unix": _unix,
    "unix-ms": _unix_ms,
    "rfc3339": _from_rfc3339,
}
