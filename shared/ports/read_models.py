"""Storage of read models: rows and the checkpoint of who folds them, moved together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from shared.model.read_model import Changes, Model, Reading

Result = TypeVar("Result")


class Stage(Enum):
    """What a generation is there for."""

    BUILDING = "building"
    """Catches up with the log, to become current."""
    CURRENT = "current"
    """Is what everybody reads. There is at most one of a name."""
    RETIRED = "retired"
    """Was current; kept for whoever is reading it at this moment."""
    SCRATCH = "scratch"
    """Folded to be compared, and dropped."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a fold cannot go on."""

    position: int
    event: str
    """The event's source and id."""
    problem: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One incarnation of a read model: its rows hold exactly the log up to `position`."""

    number: int
    """Never used again for another one."""
    model: Model
    log_id: str
    since: int
    """It was folded from the entries above this position: more than 0 where retention had trimmed the log."""
    position: int
    stage: Stage
    failure: Failure | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether a projection folds into it, or would if it were not stopped."""
        return self.stage in (Stage.CURRENT, Stage.BUILDING)


@dataclass(frozen=True, slots=True)
class Found(Generic[Result]):
    """What a reading returned, and the generation as it was at the same instant."""

    result: Result
    generation: Generation


class ReadModels(Protocol):
    """Promises.

    - `commit` stores its changes and the new position together or not at all, and only from the
      position it names. So whoever folds from a generation's position folds each entry effectively
      once, also where two fold at the same time: the second is told `FoldConflict`.
    - A reading sees one instant: rows and position belong together, and hold every commit that
      returned before. A row is found by an index exactly as its last commit said.
    - A cancelled call may have taken effect. After a cancelled `commit`, ask where the generation is.
    - What a fold stores survives a crash of its process, or is folded again from the position that did.

    Every method raises `LogUnavailable` within a bounded time when the storage does not answer.
    """

    async def generations(self, name: str | None = None) -> Sequence[Generation]:
        """All generations of one model or of all, in the order of their numbers."""
        ...

    async def begin(self, model: Model, log_id: str, since: int, *, scratch: bool = False) -> Generation:
        """An empty generation at position `since`, or the one of this model and log that is being built already.

        With `scratch` it is always a new one, that can never be current.
        """
        ...

    async def commit(self, generation: Generation, changes: Changes, through: int) -> Generation:
        """Applies the changes to a generation at the given position; returns it as it is then, at `through`.

        Raises `FoldConflict` where it is at another position by now, retired, or dropped.
        """
        ...

    async def stop(self, generation: Generation, failure: Failure) -> None:
        """Remembers why folding ended there, until a commit succeeds. Raises `FoldConflict`."""
        ...

    async def swap(self, generation: Generation) -> None:
        """Makes a generation that was being built the current one, and retires the one before.

        Nobody ever finds two current ones, or none. Raises `FoldConflict` where it is not being built.
        """
        ...

    async def drop(self, generation: Generation) -> None:
        """Removes a generation with its rows; safe to call twice. Raises `FoldConflict` for the current one."""
        ...

    async def retired(self, for_s: float) -> Sequence[Generation]:
        """Those that were retired at least so long ago: nobody reads them any more."""
        ...

    async def read(self, name: str, reading: Reading[Result]) -> Found[Result]:
        """Drives the reading over the current generation of a model.

        Raises `ModelMissing` where none has been built yet, or it lacks an index that is asked for.
        """
        ...

    async def read_in(self, generation: Generation, reading: Reading[Result]) -> Found[Result]:
        """Drives the reading over this generation, wherever it is by now. Raises `FoldConflict` once it is dropped."""
        ...
