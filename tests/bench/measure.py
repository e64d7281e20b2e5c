"""What a benchmark declares, and what becomes of the numbers that its runs give."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.stage import Stage

Sample = Mapping[str, float]
"""One run's values by the names of the benchmark's figures."""


class Failed(Exception):
    """A run did not measure what it was meant to; the message says what was wrong."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the issue asks of a figure."""

    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {shown(self.bound)}"


def at_least(bound: float) -> Target:
    """The more the better."""
    return Target(bound, True)


def at_most(bound: float) -> Target:
    """The less the better."""
    return Target(bound, False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a run gives."""

    name: str
    unit: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One thing that is measured, some times over.

    Args:
        about: what is measured, in one sentence.
        runs: yields a sample for each of the stage's runs.
        is_long: takes many minutes, and is measured only where it is named.
    """

    name: str
    about: str
    figures: Sequence[Figure]
    runs: Callable[[Stage], AsyncGenerator[Sample, None]]
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A figure over all runs."""

    benchmark: str
    figure: Figure
    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`ok` or `under`; nothing where no target was set."""
        if self.figure.target is None:
            return ""
        return "ok" if self.figure.target.is_met(self.median) else "under"

    def as_json(self) -> dict[str, Any]:
        target = self.figure.target
        return {
            "benchmark": self.benchmark,
            "figure": self.figure.name,
            "unit": self.figure.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "runs": list(self.values),
            "target": str(target) if target else None,
            "verdict": self.verdict or None,
        }


def results_of(benchmark: Benchmark, samples: Sequence[Sample]) -> list[Result]:
    """The declared figures over these samples. Raises `Failed` where a run gave others."""
    names = {figure.name for figure in benchmark.figures}
    for sample in samples:
        if sample.keys() != names:
            raise Failed(f"{benchmark.name} declares {sorted(names)} and gave {sorted(sample)}")
    return [
        Result(benchmark.name, figure, [sample[figure.name] for sample in samples])
        for figure in benchmark.figures
        if samples
    ]


def best_s(step: Callable[[], object], repeats: int) -> float:
    """The fastest of some repeats: whatever else the machine did only ever adds."""
    return min(_took_s(step) for _ in range(repeats))


def _took_s(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are at or below (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def shown(value: float) -> str:
    """Three or four digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
