"""The frame a service's process runs in: its errors, signals and heaps."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys

import pytest

from shared.web.process import MAX_HEAPS

PROCESS = """
import asyncio, ctypes, sys, threading
from concurrent.futures import ThreadPoolExecutor
from shared.model.errors import BrokerUnavailable, InvalidInput
from shared.web.process import run

async def main(stopping):
    match sys.argv[1]:
        case "bad":
            raise InvalidInput("port", "9 is taken", "choose another")
        case "failed":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
        case "waits":
            print("up", flush=True)
            await stopping.wait()
            print("stopped", flush=True)
        case "hangs":
            print("up", flush=True)
            await stopping.wait()
            print("stopping", flush=True)
            await asyncio.Event().wait()
        case "threads":
            began = threading.Barrier(8)
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda _: (bytearray(1000), began.wait()), range(8)))
            print(libc_heaps(), flush=True)

def libc_heaps():
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return text.value.decode().count("<heap ")

async def fail():
    raise BrokerUnavailable("refused")

run(main)
"""


def process(case: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, case],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize(
    ("case", "status", "line"),
    [
        ("bad", 2, "carillon: port: 9 is taken; choose another\n"),
        ("failed", 1, "carillon: broker unavailable: refused\n"),
    ],
)
def test_our_errors_are_one_line(case: str, status: int, line: str) -> None:
    with process(case) as started:
        assert started.communicate(timeout=120) == ("", line)
        assert started.returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order(number: signal.Signals) -> None:
    with process("waits") as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "up\n"
        started.send_signal(number)
        assert started.communicate(timeout=120) == ("stopped\n", "")
        assert started.returncode == 0


def test_a_second_interrupt_exits_at_once() -> None:
    with process("hangs") as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "up\n"
        started.send_signal(signal.SIGINT)
        assert started.stdout.readline() == "stopping\n"
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=120) == 130


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives each thread a heap")
def test_threads_share_few_heaps() -> None:
    with process("threads") as started:
        told, _ = started.communicate(timeout=120)
        assert int(told) <= MAX_HEAPS
