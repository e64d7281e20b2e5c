"""What the counters of this process did while something happened: all of them, so that none moves unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from shared.telemetry.metrics import REGISTRY
from tests.eventually import eventually

# What a histogram holds beside its count follows from it.
_COUNTS = ("_total", "_count")


def counters() -> dict[str, float]:
    """Every counter and every histogram's count, as `name{label=value}` without `carillon_` and `_total`."""
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    return {
        _name(sample.name, sample.labels): sample.value
        for sample in samples
        if sample.name.startswith("carillon_") and sample.name.endswith(_COUNTS)
    }


def gauge(name: str, **labels: str) -> float | None:
    """A gauge's value; None where nobody tells one."""
    return REGISTRY.get_sample_value(name, labels)


@asynccontextmanager
async def moved(**expected: float) -> AsyncIterator[None]:
    """Fails unless exactly these counters move by exactly so much, soon after the body.

    `deliveries__live=1` stands for `deliveries{mode=live}`, `unittest.mock.ANY` for any movement.
    """
    before = counters()
    yield
    await eventually(lambda: since(before) == expected or _fail_with(since(before), expected))


def since(before: Mapping[str, float]) -> dict[str, float]:
    """What has moved, and by how much."""
    now = counters()
    return {name: value - before.get(name, 0) for name, value in now.items() if value != before.get(name, 0)}


def _fail_with(found: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    raise AssertionError(f"moved: {dict(found)}, and expected was: {dict(expected)}")


def _name(name: str, labels: Mapping[str, str]) -> str:
    short = name.removeprefix("carillon_").removesuffix("_total")
    return "__".join([short, *labels.values()]).replace("-", "_")
