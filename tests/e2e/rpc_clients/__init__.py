"""JSON-RPC as others wrote it, on Node.js."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

ENDS_WITHIN_S = 120


async def lines_of(installed: Path, script: str, *arguments: str) -> list[Any]:
    """What a script prints, line by line. Fails where it fails."""
    node = await asyncio.create_subprocess_exec(
        "node", script, *arguments, cwd=installed, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            output, errors = await node.communicate()
    finally:
        if node.returncode is None:
            node.kill()
    assert node.returncode == 0, errors.decode()
    return [json.loads(line) for line in output.splitlines()]
