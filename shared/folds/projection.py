"""A projection: the shape of a read model, and the pure fold that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.model.entry import Entry
from shared.model.read_model import Changes, Model, Reading

Fold = Callable[[Sequence[Entry]], Reading[Changes]]
"""Entries that follow each other in the log -> what they change; it yields queries for the rows it needs.

It must not depend on how the log is cut into batches, on a clock, or on chance: folding again gives
the same rows. `carillon projections verify` compares.
"""


@dataclass(frozen=True, slots=True)
class Projection:
    """A change of the shape or of the fold is a new version of the model: it is built beside the old one."""

    model: Model
    fold: Fold
