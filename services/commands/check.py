"""One finding of `carillon doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shared.model.errors import CarillonError, InvalidInput


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and where that is wrong, what to do."""

    name: str
    ok: bool
    found: str
    fix: str = ""


async def checked(name: str, look: Callable[[], Awaitable[str]], fix: str) -> Check:
    """What `look` returns as a finding, and what it raises as a failure."""
    try:
        return Check(name, True, await look())
    except InvalidInput as refused:
        return Check(name, False, refused.problem, refused.fix)
    except CarillonError as failed:
        return Check(name, False, str(failed), fix)
