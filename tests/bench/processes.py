"""What the kernel says about a process (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Behind the program's name, which may hold spaces: utime and stime are fields 14 and 15 of the line.
_UTIME, _STIME = 11, 12
SERVERS = ("beam.smp", "mongod")


def resident_kib(pid: int) -> float:
    """Its resident memory; 0 where it has just ended."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return float(found[1]) if found else 0.0


def cpu_s(pid: int) -> float:
    """The processor time that it has used: unlike a rate, it hardly depends on what else the machine does."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S


def servers_cpu_s() -> float:
    """The processor time of RabbitMQ and mongod, as far as this process has started them."""
    own = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_ours(int(entry.name))}
    return sum(cpu_s(pid) for pid in own if _program(pid) in SERVERS)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_ours(pid: int) -> bool:
    """Whether it descends from this process."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False
