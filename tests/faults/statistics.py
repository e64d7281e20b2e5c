"""What operators can see of an edge from outside: its own counts, and what the kernel says of its process."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.bench.processes import resident_kib
from tests.harness.process import Service

OPERATOR_KEYS, OPERATOR_KEY = "faults=faults-key", "faults-key"
ASK_WITHIN_S = 5.0
# Columns of /proc/net/tcp (proc(5)): addresses and sizes are hexadecimal.
_LOCAL, _QUEUES, _TCP_COLUMNS = 1, 4, 12


async def counts(edge: Service) -> dict[str, int]:
    """What the edge itself says that it holds now."""
    async with httpx.AsyncClient(timeout=ASK_WITHIN_S, trust_env=False) as client:
        answer = await client.get(
            f"{edge.url}/v1/connections/counts", headers={"Authorization": f"Bearer {OPERATOR_KEY}"}
        )
    answer.raise_for_status()
    here: dict[str, int] = answer.json()["here"]
    return here


def descriptors(edge: Service) -> int:
    """Open files and sockets of its process."""
    return len(os.listdir(f"/proc/{edge.pid}/fd"))


def resident_mib(edge: Service) -> float:
    """Its resident memory."""
    return resident_kib(edge.pid) / 1024


def unsent_kib(edge: Service) -> list[float]:
    """What the kernel holds for each of its clients: written by the edge, and not taken by the other end."""
    port = int(edge.url.rsplit(":", 1)[1])
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        int(columns[_QUEUES].partition(":")[0], 16) / 1024
        for columns in sockets
        if len(columns) >= _TCP_COLUMNS and int(columns[_LOCAL].partition(":")[2], 16) == port
    ]
