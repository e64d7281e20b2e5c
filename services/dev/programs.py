"""The examples, run from the demo page as somebody would run them in a terminal: programs that publish over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from shared.web.problem import Refusal

# `examples` is of the source tree, and not of what is installed.
SOURCES = Path(__file__).resolve().parents[2]
# Each is a Python process; more than a page can show is somebody leaning on the button.
MAX_RUNNING = 4
# Of one program, whose simulated steps take some seconds.
KILLED_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Program:
    """One example: its module with arguments, and the stream of a run with this id."""

    arguments: tuple[str, ...]
    subject: str


PROGRAMS = {
    "workflow": Program(("examples.workflow", "release"), "workflow/release-{id}"),
    "job": Program(("examples.job_worker", "--exports", "1"), "job/{id}-1"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One that was started."""

    subject: str
    command: str
    """The same for a terminal, with another id."""


class Programs:
    """Starts them, and lets none outlive its server for long."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._watches: set[asyncio.Task[None]] = set()

    async def start(self, program: Program, user: str, url: str, pace: float) -> Run:
        """Returns once it runs. Raises `Refusal` where it cannot."""
        if not (SOURCES / "examples").is_dir():
            fix = "start `carillon dev` from the source tree, as `make run` does"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the examples are not installed with the services", fix=fix)
        if len(self._watches) >= MAX_RUNNING:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, f"{MAX_RUNNING} examples run already", fix="wait for one to end"
            )
        id_ = secrets.token_hex(4)
        arguments = (*program.arguments, "--to", f"user:{user}", "--pace", f"{pace:g}", "--url", url)
        process = await asyncio.to_thread(self._begun, (sys.executable, "-m", *arguments, "--id", id_))
        watch = asyncio.create_task(_watch(process), name=f"example {id_}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return Run(program.subject.format(id=id_), shlex.join((".venv/bin/python", "-m", *arguments)))

    def _begun(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """In a thread, and not by the loop: uvloop forks, and a fork of a process with threads hung before its exec.

        A session of its own: Ctrl-C is for the server, and what a program tells of its end would find nobody.
        """
        env = os.environ | {"CARILLON_KEY": self._key}
        return subprocess.Popen(
            command, cwd=SOURCES, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, env=env
        )

    async def end(self) -> None:
        """Kills those that run."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)


async def _watch(process: subprocess.Popen[bytes]) -> None:
    """Until it ends, by itself or not."""
    try:
        await asyncio.to_thread(process.wait, KILLED_AFTER_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def open_programs(key: str) -> AsyncIterator[Programs]:
    """For a producer's key."""
    programs = Programs(key)
    try:
        yield programs
    finally:
        await programs.end()
