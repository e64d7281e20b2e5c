"""One service as a real process: started, waited for, killed, stopped and continued by its id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
# The installed command: what operators run, with its whole way in.
COMMAND = Path(sys.executable).with_name("carillon")
# Interpreters start side by side on two cores that servers, clients and other jobs keep busy: with six busy loops
# beside them four of them took over 30 s.
READY_WITHIN_S = 120.0
END_WITHIN_S = 60.0
ASK_EVERY_S = 0.1
SHOWN_CHARS = 2500


class ServiceFailed(AssertionError):
    """A service ended, or did not become ready, against the test's plan."""


class Service:
    """`carillon <arguments>` with its output in a file.

    Args:
        name: what failure messages call it.
        url: where it will answer `/readyz`.
    """

    def __init__(self, name: str, arguments: Sequence[str], url: str, env: Mapping[str, str], folder: Path) -> None:
        self.name, self.url = name, url
        self._command = [str(COMMAND), *arguments]
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("CARILLON_")} | dict(env)
        self._output = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """As `subprocess` tells it: negative for a signal, None while it runs."""
        return None if self._child is None else self._child.poll()

    @property
    def output(self) -> str:
        """Everything that it has written so far, over all its starts."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def start(self) -> None:
        """Begins to start; `ready` waits for it."""
        assert not self.is_running, f"{self.name} runs already"
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                self._command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self._env, cwd=ROOT
            )

    async def ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Returns once it says that it can do its job."""
        try:
            async with httpx.AsyncClient() as client, asyncio.timeout(within_s):
                while not await self._answers(client):
                    if not self.is_running:
                        raise ServiceFailed(f"{self.name} ended while starting:\n{self.tail()}")
                    await asyncio.sleep(ASK_EVERY_S)
        except TimeoutError:
            raise ServiceFailed(f"{self.name} was not ready within {within_s:g} s:\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL: no last word. Returns when it is gone."""
        self._signal(signal.SIGKILL)
        assert self._child is not None
        self._child.wait(END_WITHIN_S)

    def terminate(self) -> None:
        """SIGTERM: it may finish what it does; `ended` waits for it."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it stands still in the middle of whatever it does, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def ended(self, within_s: float = END_WITHIN_S) -> int:
        """Its exit status, once it has ended by itself."""
        try:
            await eventually(lambda: not self.is_running, within_s)
        except TimeoutError:
            raise ServiceFailed(f"{self.name} had not ended after {within_s:g} s:\n{self.tail()}") from None
        assert self.exit_status is not None
        return self.exit_status

    def end(self) -> None:
        """Takes it down at the end of a test, whatever state it is in; never raises."""
        if self._child is None or not self.is_running:
            return
        # A stopped process takes no SIGTERM before it goes on.
        self.go_on()
        self.terminate()
        try:
            self._child.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self) -> str:
        """The end of its output, for a failure's message."""
        return f"--- {self.name} ({self.exit_status}):\n{self.output[-SHOWN_CHARS:]}"

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
