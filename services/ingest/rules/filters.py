"""What templates may do with a value. Each takes and gives a bounded amount. Pure.

A filter that has no answer raises `Failed`; missing values and null reach only `default`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

from services.ingest.rules.people import People
from services.ingest.rules.wrong import Failed, Wrong

# No title, body or tag needs more; what is longer is cut before anything is done with it.
MAX_TEXT_CHARS = 4000
# Of a list in a text: a reader stops sooner.
MAX_JOINED = 20

# By which power of ten Stripe divides a currency's amounts; two digits where it is not here (UGX and ISK, too).
_NO_DIGITS = frozenset({
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf",
})  # fmt: skip
_THREE_DIGITS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
PEOPLE = " people"
"""Under what a template's context keeps who is who: no template can write this name."""


def text_of(value: Any) -> str:
    """A value as people read it. Raises `Failed` for what is missing, null or a structure."""
    match value:
        case str():
            return value[:MAX_TEXT_CHARS]
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number(value)
        case None:
            raise Failed("it is null; say what instead with | default('…')")
        case Undefined():
            raise Failed(f"{value._undefined_name!r} is missing; say what instead with | default('…')")
        case _:
            raise Failed("a list or an object is no text; name a value in it, or use | join(', ')")


def _number(value: float) -> str:
    """Numbers of JSON may have any number of digits, which Python refuses to write."""
    try:
        return str(value)[:MAX_TEXT_CHARS]
    except ValueError:
        raise Failed("a number has too many digits") from None


def default(value: Any, other: Any = "") -> Any:
    """The other where the value is missing or null."""
    return other if value is None or isinstance(value, Undefined) else value


def lower(value: Any) -> str:
    return text_of(value).lower()


def upper(value: Any) -> str:
    return text_of(value).upper()


def capitalize(value: Any) -> str:
    text = text_of(value)
    return text[:1].upper() + text[1:]


def trim(value: Any) -> str:
    return text_of(value).strip()


def first_line(value: Any) -> str:
    return (text_of(value).strip().splitlines() or [""])[0]


def truncate(value: Any, chars: Any) -> str:
    """At most so many characters, the last of them … where it was longer."""
    text = text_of(value)
    return text if len(text) <= chars else text[: max(chars - 1, 0)] + "…"


def replace(value: Any, old: Any, new: Any) -> str:
    if not old:
        raise Failed("replace needs a text to look for")
    return text_of(value).replace(text_of(old), text_of(new))[:MAX_TEXT_CHARS]


def removeprefix(value: Any, prefix: Any) -> str:
    return text_of(value).removeprefix(text_of(prefix))


def join(value: Any, separator: Any = ", ", name: Any = None) -> str:
    """The items of a list, or what each has under `name`; after `MAX_JOINED` how many more there are."""
    if not isinstance(value, list):
        raise Failed(f"join needs a list, and got {_kind(value)}")
    shown = [text_of(item if name is None else _member(item, name)) for item in islice(value, MAX_JOINED)]
    more = len(value) - len(shown)
    return text_of(separator).join([*shown, f"{more} more"] if more else shown)[:MAX_TEXT_CHARS]


def _member(item: Any, name: Any) -> Any:
    return item.get(name) if isinstance(item, dict) else None


def length(value: Any) -> int:
    if not isinstance(value, list | dict | str):
        raise Failed(f"length needs a list, an object or a text, and got {_kind(value)}")
    return len(value)


def money(value: Any, currency: Any) -> str:
    """An amount in the currency's smallest unit, as payment services send it: 1999, 'eur' -> 19.99 EUR."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Failed(f"money needs a whole number, and got {_kind(value)}")
    code = text_of(currency).lower()
    digits = 0 if code in _NO_DIGITS else 3 if code in _THREE_DIGITS else 2
    whole, rest = divmod(abs(value), 10**digits)
    sign, fraction = "-" if value < 0 else "", f".{rest:0{digits}d}" if digits else ""
    return f"{sign}{_number(whole)}{fraction} {code.upper()}"


def date(value: Any) -> str:
    """Seconds since the epoch, or a timestamp of RFC 3339, as its day in UTC: 2026-01-31."""
    try:
        then = _instant(value)
    except (TypeError, ValueError, ArithmeticError, OSError):
        raise Failed(f"date needs seconds since 1970 or an RFC 3339 time, and got {_kind(value)}") from None
    return then.date().isoformat()


def _instant(value: Any) -> datetime:
    """In UTC; a time without a zone is taken for one. Raises what the library does."""
    if isinstance(value, bool):
        raise TypeError
    if not isinstance(value, str):
        return datetime.fromtimestamp(value, UTC)
    then = datetime.fromisoformat(value[:40])
    return then if then.tzinfo is None else then.astimezone(UTC)


@pass_context
def user(context: Context, value: Any, people: Any) -> str:
    """Who somebody of another system is here: `octocat | user('github')`."""
    everyone: People = context[PEOPLE]
    return everyone.user(text_of(people), text_of(value))


def _kind(value: Any) -> str:
    match value:
        case Undefined():
            return "nothing"
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        capitalize, date, default, first_line, join, length, lower, money, removeprefix, replace, trim, truncate,
        upper, user,
    )
}  # fmt: skip
_NEEDS_CONTEXT = ("user",)


def check_filter(name: str, arguments: int) -> None:
    """Raises `Wrong` for a filter that is not there, or is given too little or too much."""
    if name not in FILTERS:
        raise Wrong(f"there is no filter {name!r} in rules", f"use one of {', '.join(FILTERS)}")
    before = 2 if name in _NEEDS_CONTEXT else 1
    try:
        inspect.signature(FILTERS[name]).bind(*[None] * (before + arguments))
    except TypeError:
        wants = list(inspect.signature(FILTERS[name]).parameters.values())[before:]
        shown = ", ".join(each.name if each.default is each.empty else f"{each.name}?" for each in wants) or "nothing"
        raise Wrong(f"the filter {name!r} is given {arguments} values", f"give it: {shown}") from None
