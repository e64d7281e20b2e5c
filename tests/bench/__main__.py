"""`python -m tests.bench`: measures, tells how far it is, and ends with a table and a JSON file."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from tests.bench import (
    append,
    console,
    depth,
    fanout,
    inbox,
    ingest,
    latency,
    memory,
    micro,
    pipeline,
    projections,
    rebuild,
    resume,
    rivals,
    routings,
    rules,
    stalled,
    telemetry,
    webhooks,
)
from tests.bench.measure import Benchmark, Result, Sample, results_of, shown
from tests.bench.stage import Stage
from tests.harness.process import ROOT

ALL: Sequence[Benchmark] = (
    micro.BENCHMARK,
    webhooks.BENCHMARK,
    rules.BENCHMARK,
    ingest.BENCHMARK,
    append.BENCHMARK,
    pipeline.BENCHMARK,
    latency.FOUR_SERVICES,
    latency.EMBEDDED,
    fanout.BENCHMARK,
    telemetry.BENCHMARK,
    memory.BENCHMARK,
    resume.BENCHMARK,
    depth.BENCHMARK,
    projections.BENCHMARK,
    rebuild.BENCHMARK,
    inbox.BENCHMARK,
    console.BENCHMARK,
    rivals.OF_1000,
    rivals.OF_5000,
    routings.BENCHMARK,
    stalled.BENCHMARK,
)
# One benchmark that hangs must not take the others' results with it.
BENCHMARK_WITHIN_S, LONG_WITHIN_S = 360.0, 1800.0
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
PACKAGES = ("aio-pika", "motor", "pymongo", "quart", "hypercorn", "uvloop", "pydantic")


def main() -> int:
    """The exit status: 0 where everything was measured, whether or not targets were met."""
    options = _options()
    # A developer's own settings must not decide what is measured.
    for name in [name for name in os.environ if name.startswith("CARILLON_")]:
        del os.environ[name]
    chosen = [benchmark for benchmark in ALL if _is_chosen(benchmark, options.only)]
    began_at, load_before = time.monotonic(), os.getloadavg()
    results: list[Result] = []
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            failures = runner.run(_measure(chosen, options, results))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("interrupted; all that was started has been ended", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(_table(results))
    took_s = time.monotonic() - began_at
    _write(options.json, results, {"load_before": load_before, "took_s": round(took_s, 1), "quick": options.quick})
    print(f"\n{took_s:.0f} s; load average before it {load_before[0]:.2f}; written to {options.json}")
    for failure in failures:
        print(f"FAILED  {failure}")
    return EXIT_FAILED if failures else 0


def _is_chosen(benchmark: Benchmark, only: Sequence[str] | None) -> bool:
    return benchmark.name in only if only else not benchmark.is_long


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Carillon's benchmarks.")
    names = [benchmark.name for benchmark in ALL]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--runs", type=int, help="of each benchmark; the table shows medians (default 3, quick 1)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and one run: is it far off?")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "bench.json", help="where results are written")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 3)
    if not 1 <= options.runs <= 20:
        parser.error("--runs must be between 1 and 20")
    return options


async def _measure(chosen: Sequence[Benchmark], options: argparse.Namespace, results: list[Result]) -> list[str]:
    """Fills `results`; returns what failed."""
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    failures: list[str] = []
    with Stage(runs=options.runs, quick=options.quick) as stage:
        for benchmark in chosen:
            print(f"{benchmark.name}: {benchmark.about}", file=sys.stderr, flush=True)
            samples: list[Sample] = []
            try:
                await _collect(benchmark, stage, samples)
            except Exception as failed:
                failures.append(f"{benchmark.name}: {_cause(failed)!r}")
            results += results_of(benchmark, samples)
    return failures


def _cause(error: Exception) -> BaseException:
    """What a task group wraps is what failed."""
    return _cause(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


async def _collect(benchmark: Benchmark, stage: Stage, samples: list[Sample]) -> None:
    within_s = LONG_WITHIN_S if benchmark.is_long else BENCHMARK_WITHIN_S
    async with asyncio.timeout(within_s), contextlib.aclosing(benchmark.runs(stage)) as runs:
        async for sample in runs:
            samples.append(sample)
            stage.tell("  ".join(f"{name} {shown(value)}" for name, value in sample.items()))


def _table(results: Sequence[Result]) -> str:
    rows: list[tuple[str, ...]] = [("benchmark", "figure", "unit", "median", "min", "max", "target", "")]
    rows += [
        (
            result.benchmark,
            result.figure.name,
            result.figure.unit,
            *map(shown, (result.median, min(result.values), max(result.values))),
            str(result.figure.target or ""),
            result.verdict,
        )
        for result in results
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left, numbers, right = row[:3], row[3:6], row[6:]
    cells = [text.ljust(width) for text, width in zip(left, widths[:3], strict=True)]
    cells += [text.rjust(width) for text, width in zip(numbers, widths[3:6], strict=True)]
    cells += [text.ljust(width) for text, width in zip(right, widths[6:], strict=True)]
    return "  ".join(cells).rstrip()


def _write(path: Path, results: Sequence[Result], about: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
    }
    document = {**about, "machine": machine, "results": [result.as_json() for result in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
