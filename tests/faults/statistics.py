"""What operators can see of an edge from outside: its own counts, and what the kernel says of its process."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.bench.processes import resident_kib
from tests.harness.process import Service

OPERATOR_KEYS, OPERATOR_KEY = "faults=faults-key", "faults-key"
ASK_WITHIN_S = 60.0
# Columns of /proc/net/tcp (proc(5)): addresses and sizes are hexadecimal.
_LOCAL, _REMOTE, _QUEUES, _INODE = 1, 2, 4, 9


async def counts(edge: Service) -> dict[str, int]:
    """What the edge itself says that it holds now."""
    async with httpx.AsyncClient(timeout=ASK_WITHIN_S, trust_env=False) as client:
        answer = await client.get(
            f"{edge.url}/v1/connections/counts", headers={"Authorization": f"Bearer {OPERATOR_KEY}"}
        )
    answer.raise_for_status()
    here: dict[str, int] = answer.json()["here"]
    return here


def descriptors(edge: Service, *, except_to: int) -> int:
    """Open files and sockets of its process, but for connections to a port: a driver's pool may grow to its bound."""
    pool = {columns[_INODE] for columns in _sockets() if _port(columns[_REMOTE]) == except_to}
    return sum(_inode(edge, number) not in pool for number in os.listdir(f"/proc/{edge.pid}/fd"))


def _inode(edge: Service, number: str) -> str:
    try:
        return os.readlink(f"/proc/{edge.pid}/fd/{number}").removeprefix("socket:[").removesuffix("]")
    except FileNotFoundError:
        # Closed since it was listed.
        return ""


def resident_mib(edge: Service) -> float:
    """Its resident memory."""
    return resident_kib(edge.pid) / 1024


def unsent_kib(edge: Service) -> list[float]:
    """What the kernel holds for each of its clients: written by the edge, and not taken by the other end."""
    port = int(edge.url.rsplit(":", 1)[1])
    return [
        int(columns[_QUEUES].partition(":")[0], 16) / 1024 for columns in _sockets() if _port(columns[_LOCAL]) == port
    ]


def _sockets() -> list[list[str]]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [columns for columns in map(str.split, lines) if len(columns) > _INODE]


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)
