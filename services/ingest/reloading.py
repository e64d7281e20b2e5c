"""Files that are read again when they change, without a restart. Bad ones change nothing, and are told."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, Self, TypeVar

from shared.model.errors import Degraded, InvalidInput

# How often the files are looked at: a few calls of stat, cheaper than anybody's patience.
LOOK_EVERY_S = 1.0
# So that bad files are not one line between thousands.
TELL_AGAIN_S = 60.0

Value = TypeVar("Value")
Clock = Callable[[], float]
Signature = tuple[tuple[Path, int, int, int], ...]

_log = logging.getLogger(__name__)


class Reloaded(Generic[Value]):
    """What files said when they were last good; `problem` says what is wrong with them since.

    Args:
        what: is in the files, for people: "rules", "webhook sources".
        load: reads them. Raises `InvalidInput`.
        watched: the files to look at, as they are found now; whether or not they were good.
    """

    def __init__(
        self,
        what: str,
        load: Callable[[], Value],
        watched: Callable[[], Iterable[Path]],
        clock: Clock = time.monotonic,
    ) -> None:
        self._what, self._load, self._watched, self._clock = what, load, watched, clock
        self._told_at = -math.inf
        self._tried = _signature(watched())
        self.value = load()
        self.problem: str | None = None
        self._seen = self._tried = self._with_newly_named(self._tried)

    async def probe(self) -> None:
        """For `/readyz`. Raises `Degraded` while the newest files are bad, or nobody looks at them."""
        if self.problem is not None:
            raise Degraded(f"the files from before are in force: {self.problem}")

    async def look(self) -> None:
        """Reads the files once they have changed, and have stayed as they are since the last look."""
        seen, before = await asyncio.to_thread(lambda: _signature(self._watched())), self._seen
        self._seen = seen
        # A file that is being written would be read in half, and be lawful YAML.
        if seen == before and seen != self._tried:
            await self._reload(seen)
        elif self.problem is not None:
            self._tell(self.problem)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Self]:
        """Looks again and again meanwhile."""
        task = asyncio.create_task(self._follow(), name=f"follow {self._what}")
        task.add_done_callback(self._tell_if_died)
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def _reload(self, seen: Signature) -> None:
        try:
            self.value = await asyncio.to_thread(self._load)
        except InvalidInput as refused:
            self._tell(str(refused))
        else:
            self.problem = None
            _log.info("%s read again", self._what)
        self._seen = self._tried = self._with_newly_named(seen)

    def _with_newly_named(self, seen: Signature) -> Signature:
        """As seen before reading, lest a change meanwhile goes unnoticed; unless reading has named other files."""
        found = _signature(self._watched())
        return seen if _paths(found) == _paths(seen) else found

    def _tell(self, problem: str) -> None:
        if problem != self.problem or self._clock() - self._told_at >= TELL_AGAIN_S:
            _log.error("%s: the new files are bad, those from before stay in force: %s", self._what, problem)
            self._told_at = self._clock()
        self.problem = problem

    def _tell_if_died(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (died := following.exception()):
            self.problem = "their files are not followed any more; see the log, and restart"
            _log.error(
                "%s: the files are not followed any more, and what they said holds until a restart",
                self._what,
                exc_info=died,
            )


def _signature(files: Iterable[Path]) -> Signature:
    """What changes when one of the files does: also when a link is set to another folder."""
    return tuple(map(_of_file, files))


def _paths(signature: Signature) -> list[Path]:
    return [path for path, *_ in signature]


def _of_file(path: Path) -> tuple[Path, int, int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return path, 0, 0, 0
    return path, found.st_mtime_ns, found.st_size, found.st_ino
