"""A webhook's request as it came, and how it can fail to be who it says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """What a request failed, for the log. Its sender is told no more than that it failed."""

    HEADER_MISSING = "header-missing"
    HEADER_MALFORMED = "header-malformed"
    SIGNATURE = "signature"
    CREDENTIALS = "credentials"
    TIMESTAMP_MALFORMED = "timestamp-malformed"
    TIMESTAMP_STALE = "timestamp-stale"
    TIMESTAMP_FUTURE = "timestamp-future"
    LOOPBACK = "loopback"


class NotAuthentic(Exception):
    """Nobody knows who sent this.

    Args:
        about: the header that was looked at; never its value.
    """

    def __init__(self, check: Check, about: str) -> None:
        super().__init__(f"{check.value} ({about})")
        self.check, self.about = check, about


@dataclass(frozen=True, slots=True)
class Posted:
    """What was sent."""

    headers: Mapping[str, str]
    """By lower-case name; values are bytes decoded as Latin-1. A repeated header is one list (RFC 9110, 5.3)."""
    body: bytes
    from_loopback: bool = False

    @classmethod
    def of(cls, headers: Iterable[tuple[str, str]], body: bytes, *, from_loopback: bool = False) -> Posted:
        joined: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return cls(joined, body, from_loopback)

    def header(self, name: str) -> str | None:
        """The value of the header `name`, in lower case; None where it is missing or empty."""
        return self.headers.get(name, "").strip(" \t") or None

    def needed(self, name: str) -> str:
        """The value of a header that verification needs. Raises `NotAuthentic`."""
        value = self.header(name)
        if value is None:
            raise NotAuthentic(Check.HEADER_MISSING, name)
        return value
