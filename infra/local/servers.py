"""A real RabbitMQ node and a real mongod as child processes, on free loopback ports.

Used by the tests, the benchmarks and `python -m infra.local`. Each server keeps its files in a
folder of its own, can be stopped, killed and started again on the same port and files, and ends
with the process that made it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

RABBITMQ_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 20.0
EPMD_TIMEOUT_S = 5.0
# Below it are the ports that people choose for what they run.
FIRST_PORT, MIN_PORTS = 12_000, 2_000
DEFAULT_CLIENTS_FIRST_PORT = 32_768


class ServerUnavailable(RuntimeError):
    """A server's program is missing or did not come up; the message says what to install or read."""


class _Ports:
    """Hands out each port of its range once, beginning anywhere: two processes seldom come upon the same."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._count = first, last - first + 1
        # Not by `random`, which a test may have seeded.
        self._next = secrets.randbelow(self._count)

    def take(self) -> int:
        for _ in range(self._count):
            port = self._first + self._next
            self._next = (self._next + 1) % self._count
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
        raise ServerUnavailable(f"no port is free from {self._first} on")


def _clients_first_port() -> int:
    """From here on the kernel chooses ports for those who connect."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return DEFAULT_CLIENTS_FIRST_PORT


_ports = _Ports(FIRST_PORT, max(_clients_first_port(), FIRST_PORT + MIN_PORTS) - 1)


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now, and that no client is given.

    The kernel hands the ports that it finds by itself to clients, too: by the time a server has started,
    or comes back after a kill, one of them may have it. A client that calls a server that is away may
    even be connected to itself, and keeps the port from the server.
    """
    return _ports.take()


def mongod_binary() -> Path:
    """The mongod on PATH, or the one that the test dependency carries in its wheel."""
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    # The package's own __init__ needs more of its family installed: find its folder, do not import it.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "db" / "bin" / "mongod"
        if binary.exists():
            binary.chmod(0o755)
            return binary
    raise ServerUnavailable("no mongod: run `make setup`, which installs it with the test extras")


class _Process:
    """A child process in its own process group, with its output in a log file."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def spawn(self, command: list[str], env: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True
            )

    def send(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    def end(self, number: signal.Signals) -> None:
        if self._child is None:
            return
        self.send(number)
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._child.wait(STOP_TIMEOUT_S)
        self._child = None

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self._child is None or self._child.poll() is not None:
                raise ServerUnavailable(f"{what} ended while starting; its output:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"{what} was not up after {START_TIMEOUT_S:.0f} s:\n{self._tail()}")
            time.sleep(0.1)

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


class RabbitServer:
    """One RabbitMQ node with an epmd, a cookie and a database of its own."""

    def __init__(self, folder: Path) -> None:
        if not RABBITMQ_SCRIPT.exists():
            raise ServerUnavailable("no RabbitMQ: run `make setup`, or apt-get install rabbitmq-server")
        self.port, self._dist_port, self._epmd_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.folder = folder
        self._process = _Process(folder, "rabbitmq")
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text("log.console.level = warning\nvm_memory_high_watermark.absolute = 2GB\n")
        (folder / "env.conf").write_text("")
        node = f"carillon-{self.port}@localhost"
        self._env = os.environ | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
        }

    def start(self) -> None:
        self._process.spawn([str(RABBITMQ_SCRIPT)], self._env)
        self._process.wait_until(self._answers, "RabbitMQ")

    def stop(self) -> None:
        self._process.end(signal.SIGTERM)
        self._end_epmd()

    def kill(self) -> None:
        self._process.end(signal.SIGKILL)
        self._end_epmd()

    def _answers(self) -> bool:
        """The AMQP port greets only once the node has booted; a bare connect is not enough."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(b"AMQP\x00\x00\x09\x01")
                peer.settimeout(2)
                return bool(peer.recv(1))
        except OSError:
            return False

    def _end_epmd(self) -> None:
        # The node starts epmd as a daemon in a session of its own, so no signal of ours reaches it.
        if (epmd := shutil.which("epmd")) is None:
            return
        command = [epmd, "-port", str(self._epmd_port), "-kill"]
        deadline = time.monotonic() + EPMD_TIMEOUT_S
        # It refuses while it still believes a node of ours to be alive; each run once left one behind.
        while subprocess.run(command, capture_output=True, check=False).returncode and self._epmd_listens():
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def _epmd_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._epmd_port)) == 0


class MongoServer:
    """One mongod that is a replica set of one, as transactions need."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"
        self._binary = mongod_binary()
        self._process = _Process(folder, "mongod")
        self._files = folder / "mongo"
        self._files.mkdir()

    def start(self) -> None:
        self._process.spawn(
            [str(self._binary), "--dbpath", str(self._files), "--port", str(self.port), "--bind_ip", "127.0.0.1",
             "--replSet", "rs0", "--wiredTigerCacheSizeGB", "2", "--nounixsocket", "--quiet",
             "--setParameter", "diagnosticDataCollectionEnabled=false"]
        )  # fmt: skip
        self._process.wait_until(self._is_primary, "mongod")

    def stop(self) -> None:
        self._process.end(signal.SIGTERM)

    def kill(self) -> None:
        self._process.end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the server: its sockets stay open and nothing answers."""
        self._process.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send(signal.SIGCONT)

    def _is_primary(self) -> bool:
        import pymongo
        from pymongo.errors import OperationFailure, PyMongoError

        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=500
        )
        with contextlib.closing(client):
            try:
                hello = client.admin.command("hello")
                if not hello.get("setName"):
                    member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                    with contextlib.suppress(OperationFailure):
                        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
                return bool(hello.get("isWritablePrimary"))
            except PyMongoError:
                return False


AnyServer = TypeVar("AnyServer", RabbitServer, MongoServer)


@contextlib.contextmanager
def running(make: Callable[[Path], AnyServer]) -> Iterator[AnyServer]:
    """Starts one server in a throwaway folder and ends it, whatever happens between."""
    folder = Path(tempfile.mkdtemp(prefix="carillon-"))
    server = make(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
