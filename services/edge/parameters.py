"""Parameters of a query, whichever route they are of. Pure. Everything raises `InvalidInput`, naming the parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shared.model.errors import InvalidInput


def refuse_unknown(parameters: Mapping[str, str], known: Collection[str]) -> None:
    """A misspelt parameter would be a request for something else, perhaps for far more."""
    for name in parameters:
        if name not in known:
            fix = f"use one of: {', '.join(known)}" if known else "leave it out"
            raise InvalidInput(name[:60], "there is no such parameter", fix)


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """`0` or `1`; without it, no."""
    text = parameters.get(name, "0")
    if text not in ("0", "1"):
        raise InvalidInput(name, f"{text[:40]!r} is neither 0 nor 1", "use 1 for yes")
    return text == "1"


def number(parameters: Mapping[str, str], name: str, default: int, highest: int) -> int:
    """A number from 1 to `highest`."""
    text = parameters.get(name, str(default))
    # So many digits are enough, and Python refuses to read thousands of them.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(highest)) and 1 <= int(text) <= highest):
        raise InvalidInput(name, f"{text[:40]!r} is out of range", f"give a number from 1 to {highest}")
    return int(text)
