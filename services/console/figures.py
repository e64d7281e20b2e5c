"""Samples -> what the overview says and draws. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.console.sampling import COUNTED, Sample

ACCEPTED, DELIVERED, REFUSED = COUNTED
# Long enough to hold events on a quiet platform, and short enough to be now.
LATELY_S = 60.0
# More points than the chart has pixels to tell them apart.
CHART_POINTS = 180
CHART_WIDTH, CHART_HEIGHT = 360, 84

Series = Sequence[tuple[float, float]]
"""(seconds since the epoch, value)."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One line over the last hour, in the units of its drawing."""

    name: str
    unit: str
    line: str
    """Of an SVG path; empty where there is too little to draw."""
    area: str
    now: float | None
    highest: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of the overview. None is not known, which is not 0."""

    persisted_per_s: float | None
    accepted_per_s: float | None
    delivered_per_s: float | None
    refused_per_s: float | None
    percentiles_ms: Mapping[int, float | None]
    charts: Sequence[Chart]


def figures(samples: Sequence[Sample]) -> Figures:
    """What the samples say."""
    lately = [sample for sample in samples if sample.at >= samples[-1].at - LATELY_S] if samples else []
    return Figures(
        _rate_between(lately, lambda sample: sample.last),
        _rate_between(lately, _counter(ACCEPTED)),
        _rate_between(lately, _counter(DELIVERED)),
        _rate_between(lately, _counter(REFUSED)),
        {share: _percentile_ms(lately, share) for share in (50, 95, 99)},
        charts(samples),
    )


def charts(samples: Sequence[Sample]) -> list[Chart]:
    """The last hour, line by line."""
    return [
        _chart("Persisted", "/s", rates(samples, lambda sample: sample.last)),
        _chart("Delivered", "/s", rates(samples, _counter(DELIVERED))),
        _chart("Delivery, 95 %", " ms", _latencies(samples)),
        _chart("Connections", "", [(sample.at, float(sample.connections)) for sample in samples]),
        _chart("Dispatch lag", "", [(sample.at, float(sample.dispatch_lag)) for sample in samples]),
        _chart("Dead letters", "", [(sample.at, float(sample.dead)) for sample in samples]),
    ]


def rates(samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> Series:
    """What a count grew by between neighbours, a second; a restart, which begins at 0 again, is left out."""
    found = []
    for before, after in _comparable(samples):
        first, second = value(before), value(after)
        if first is not None and second is not None and second >= first:
            found.append((after.at, (second - first) / (after.at - before.at)))
    return found


def _comparable(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Neighbours of which the same processes told: one that tells again brings all that it has ever counted."""
    return (
        (before, after) for before, after in pairwise(samples) if before.silent == after.silent and after.at > before.at
    )


def percentile(latency: Mapping[float, float], share: int) -> float | None:
    """The seconds that so many percent stay below, by the bounds of a histogram; None where it holds nothing."""
    total = latency.get(math.inf, 0.0)
    if total <= 0:
        return None
    wanted, lower, below = total * share / 100, 0.0, 0.0
    for bound, count in sorted(latency.items()):
        if count >= wanted and count > below:
            # Spread evenly inside the bucket, as Prometheus does; beyond the last bound nothing is known.
            return lower if math.isinf(bound) else lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower


def grown(before: Mapping[float, float], after: Mapping[float, float]) -> Mapping[float, float]:
    """The histogram of what came between; all of it where the process began anew."""
    if any(after.get(bound, 0.0) < count for bound, count in before.items()):
        return after
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def _rate_between(lately: Sequence[Sample], value: Callable[[Sample], float | None]) -> float | None:
    if len(lately) < 2:
        return None
    pieces = rates(lately, value)
    return sum(rate for _, rate in pieces) / len(pieces) if pieces else None


def _counter(name: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.counted.get(name)


def _percentile_ms(lately: Sequence[Sample], share: int) -> float | None:
    together: Counter[float] = Counter()
    for before, after in _comparable(lately):
        together.update(grown(before.latency, after.latency))
    found = percentile(together, share)
    return None if found is None else found * 1000


def _latencies(samples: Sequence[Sample]) -> Series:
    found = []
    for before, after in _comparable(samples):
        value = percentile(grown(before.latency, after.latency), 95)
        if value is not None:
            found.append((after.at, value * 1000))
    return found


def _chart(name: str, unit: str, series: Series) -> Chart:
    now = series[-1][1] if series else None
    highest = max((value for _, value in series), default=0.0)
    if len(series) < 2:
        return Chart(name, unit, "", "", now, highest)
    thinned = _thinned(series)
    first, last = thinned[0][0], thinned[-1][0]
    points = [
        ((at - first) / (last - first) * CHART_WIDTH, CHART_HEIGHT - value / (highest or 1) * (CHART_HEIGHT - 4))
        for at, value in thinned
    ]
    line = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Chart(name, unit, line, f"{line} V{CHART_HEIGHT} H0 Z", now, highest)


def _thinned(series: Series) -> Series:
    """The highest of each few neighbours: a peak is what a chart is looked at for."""
    every = math.ceil(len(series) / CHART_POINTS)
    return [max(series[start : start + every], key=lambda point: point[1]) for start in range(0, len(series), every)]
