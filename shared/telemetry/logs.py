"""Log lines: JSON for machines, plain text for people; one line an incident, no secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from opentelemetry import trace
from pydantic import SecretStr

from shared.model.settings import Settings

# Shorter ones are words, such as the password `guest`: to hide them would make lines unreadable.
MIN_HIDDEN_CHARS = 6
HIDDEN = "***"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

Hide = Callable[[str], str]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace id, and what `extra` gave."""

    def __init__(self, hide: Hide = str) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._hide(record.getMessage()),
        } | _about(record)
        if record.exc_info:
            line["exception"] = self._hide(self.formatException(record.exc_info))
        return self._hide(json.dumps(line, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """A line to read: time, level, logger, message, and what `extra` gave as `name=value`."""

    def __init__(self, hide: Hide = str) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
        self._hide = hide

    def formatMessage(self, record: logging.LogRecord) -> str:
        extras = (f"{name}={value}" for name, value in _about(record).items())
        return "  ".join((super().formatMessage(record), *extras))

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(super().format(record))


def set_up(settings: Settings) -> None:
    """Sends all logs to standard error in the configured form, with no secret of the settings in them."""
    hide = hiding(secrets_of(settings))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(hide) if settings.log_format == "json" else TextFormatter(hide))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # The drivers tell of every reconnect in tracebacks; the adapters say the same in one line each.
    for chatty in ("aio_pika", "aiormq", "pymongo", "hypercorn.access", "httpx", "httpcore", "opentelemetry"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def hiding(secrets: Collection[str]) -> Hide:
    """Replaces each of the secrets, however it got into a line: in a driver's error, in a traceback."""
    escaped = {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in secrets}
    longest_first = sorted(escaped.union(secrets), key=len, reverse=True)
    if not longest_first:
        return str
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return lambda text: pattern.sub(HIDDEN, text)


def secrets_of(settings: Settings) -> set[str]:
    """What must not be in a log: keys, passwords within addresses, values of headers."""
    held = (value.get_secret_value() for _, value in settings if isinstance(value, SecretStr))
    return {secret for text in held for secret in _parts(text) if len(secret) >= MIN_HIDDEN_CHARS}


def _parts(text: str) -> Iterator[str]:
    """The secrets in a setting: a password in an address, each key of a list of `name=key`, or the whole."""
    if "://" in text:
        address = text.partition("?")[0]
        password = urlsplit(address).password if "@" in address else None
        if password:
            yield password
            yield unquote(password)
        return
    yield text
    if "=" in text:
        yield from (pair.partition("=")[2] for pair in text.split(","))


def _about(record: logging.LogRecord) -> dict[str, object]:
    """The trace that the line was written in, and what `extra` gave."""
    context = trace.get_current_span().get_span_context()
    of_trace = {"trace_id": f"{context.trace_id:032x}"} if context.is_valid else {}
    return of_trace | {name: value for name, value in vars(record).items() if name not in _STANDARD}
