"""The programs of examples/, run as their README says."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program came to."""

    status: int
    output: str

    @property
    def subjects(self) -> list[str]:
        """The streams that it says it has made."""
        return re.findall(r"(?:workflow|job)/[\w-]+", self.output.partition("\n")[0])


async def start(arguments: Sequence[str], env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """`python -m <arguments>` from the root of the project, with these variables beside the usual ones."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith("CARILLON_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env=usual | dict(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Its status and all that it said."""
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return Ended(process.returncode or 0, output.decode())


async def run(arguments: Sequence[str], env: Mapping[str, str]) -> Ended:
    """From beginning to end."""
    return await ended(await start(arguments, env))


def commands_of_the_readme() -> list[list[str]]:
    """What examples/README.md tells to run, as arguments of `python -m`."""
    text = (ROOT / "examples" / "README.md").read_text()
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    return [shlex.split(line) for line in re.findall(r"^\.venv/bin/python -m (.+)$", blocks, re.MULTILINE)]
