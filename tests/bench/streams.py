"""Open streams as the benchmarks see them: a process of clients that open, count and tell."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from tests.bench.measure import Failed
from tests.harness.process import ROOT

ANSWER_WITHIN_S = 120.0
# One answer may hold the arrival time of each of some thousand events.
MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When what was expected came; times of the monotonic clock."""

    first: float
    last: float
    stamps: Mapping[int, float]
    """By event, where stamps were asked for."""


class Streams:
    """The clients of one process."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._unread: list[dict[str, Any]] = []

    async def open(self, url: str, cookies: Sequence[str], last_event_id: str | None = None) -> float:
        """Opens a stream for each cookie, all at once; returns when the last of them was greeted."""
        self._ask(do="open", port=int(url.rsplit(":", 1)[1]), cookies=list(cookies), last_event_id=last_event_id)
        return float((await self._answer("greeted"))["greeted"])

    async def expect(self, frames: int, *, stamped: bool = False) -> None:
        """From here on, counts event frames; `arrived` returns when so many have come."""
        self._ask(do="expect", frames=frames, stamped=stamped)
        await self._answer("expecting")

    async def arrived(self) -> Arrivals:
        """Waits for what is expected."""
        answer = await self._answer("last")
        stamps = {int(number): at for number, at in (answer["stamps"] or {}).items()}
        return Arrivals(answer["first"], answer["last"], stamps)

    async def check_each(self, frames: int) -> None:
        """Raises `Failed` unless every stream has received exactly so many event frames since it was opened."""
        self._ask(do="counts")
        counts = await self._answer("least")
        if not counts["least"] == counts["most"] == frames:
            raise Failed(f"streams received {counts['least']} to {counts['most']} frames each instead of {frames}")

    async def stall(self) -> None:
        """Nothing is read from any stream any more; that they are cut is no failure."""
        self._ask(do="stall")
        await self._answer("stalled")

    async def close(self) -> None:
        """Ends all streams; the process stays for more."""
        self._ask(do="close")
        await self._answer("closed")

    def _ask(self, **command: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command).encode() + b"\n")

    async def _answer(self, awaited: str) -> dict[str, Any]:
        """The next answer that has this key; others are kept, for they may come in any order."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while True:
                for answer in self._unread:
                    if awaited in answer:
                        self._unread.remove(answer)
                        return answer
                self._unread.append(await self._next_answer())

    async def _next_answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = await self._child.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": "the stream clients have ended"}
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    @classmethod
    @asynccontextmanager
    async def clients(cls) -> AsyncIterator[Self]:
        """A process of clients, ended at the end."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.stream_clients",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            limit=MAX_ANSWER_BYTES,
            # Ctrl-C is for us: we end it.
            start_new_session=True,
        )
        try:
            yield cls(child)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()
