"""The npm package `oidc-provider`, certified by the OpenID Foundation, as a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

HERE = Path(__file__).parent
CLIENT_ID, CLIENT_SECRET = "carillon", "a-secret-of-the-test-alone"
READY_WITHIN_S = 120.0


@asynccontextmanager
async def provider(installed: Path, url: str, *redirect_uris: str) -> AsyncIterator[None]:
    """A provider at `url` with one client, ended at the end.

    Args:
        installed: where the package is.
    """
    with (installed / "provider.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("node", "provider.mjs", url, CLIENT_ID, CLIENT_SECRET, *redirect_uris),
            cwd=installed,
            # It ends with its input, and so with this process, whatever becomes of that.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        await _ready(process)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            assert await process.stdout.readline() == b"ready\n", "the provider ended: see build/oidc/provider.log"
    except TimeoutError:
        raise AssertionError(f"the provider was not ready within {READY_WITHIN_S:g} s") from None
