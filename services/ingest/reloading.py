"""Files that are read again when they change, without a restart. A bad one changes nothing, and is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

from shared.model.errors import InvalidInput

# A change is used once it is as old as that: a file that is just being written looks whole at times.
LOOK_EVERY_S = 1.0
# So that a bad file is not one line between thousands.
TELL_AGAIN_S = 60.0

Value = TypeVar("Value")
Clock = Callable[[], float]
_Stamps = tuple[tuple[int, int, int] | None, ...]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Value]):
    """What files say, and which they are."""

    value: Value
    files: tuple[Path, ...]


class Reloaded(Generic[Value]):
    """What files said when they were last good.

    Looks at them when asked, at most every `LOOK_EVERY_S`: that needs no task of its own, so it holds where
    none may run between requests. A look is a few `stat` calls, microseconds.

    Args:
        what: is declared in the files, for the log: "webhook sources".
        load: reads them; raises `InvalidInput`.
    """

    def __init__(self, what: str, load: Callable[[], Loaded[Value]], clock: Clock = time.monotonic) -> None:
        self._what, self._load, self._clock = what, load, clock
        loaded = load()
        self._value, self._files = loaded.value, loaded.files
        self._used = self._seen = _stamps(loaded.files)
        self._looked_at, self._told_at = clock(), -math.inf
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """What is wrong with the files as they are now; None while `current` is what they say."""
        return self._trouble

    def current(self) -> Value:
        """What the files say, or said when they were last good."""
        if self._clock() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = self._clock()
            self._look()
        return self._value

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Self]:
        """Looks meanwhile, so that a change is told also where nobody asks."""
        task = asyncio.create_task(self._follow(), name=f"follow {self._what}")
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        while True:
            self.current()
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        stamps = _stamps(self._files)
        is_settled, self._seen = stamps == self._seen, stamps
        # While they are bad they are read at each look: what was missing may be a file nobody knew of.
        if is_settled and (stamps != self._used or self._trouble is not None):
            self._reload(stamps)

    def _reload(self, stamps: _Stamps) -> None:
        try:
            loaded = self._load()
        except InvalidInput as refused:
            self._tell(str(refused))
            return
        self._value, self._files, self._trouble = loaded.value, loaded.files, None
        self._seen = _stamps(loaded.files)
        # Other files than before have stamps of their own; those that stayed may have changed meanwhile.
        self._used = stamps if len(stamps) == len(self._seen) else self._seen
        _log.info("%s read again", self._what)

    def _tell(self, trouble: str) -> None:
        now = self._clock()
        if trouble != self._trouble or now - self._told_at >= TELL_AGAIN_S:
            _log.error("%s NOT read again, those from before stay in use: %s", self._what, trouble)
            self._told_at = now
        self._trouble = trouble


def _stamps(files: Iterable[Path]) -> _Stamps:
    return tuple(map(_stamp, files))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Changes with the file's content; follows links, which is how mounted secrets change."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
