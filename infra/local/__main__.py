"""`python -m infra.local`: the four services on a real RabbitMQ and a real MongoDB, until Ctrl-C.

The topology of docker-compose.yml without Docker. Everything lives on loopback ports, with secrets
made for this run, and its data goes when it ends. `CARILLON_*` of the environment reaches the
services where this command does not set it itself.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.servers import MongoServer, RabbitServer, ServerUnavailable, free_port, running
from services.edge.tokens import sign_token

ROLES = ("ingest", "edge", "console", "persister")
DEFAULT_BASE_PORT = 8081
DEMO_USER = "alice"
DEMO_TOKEN_TTL_S = 12 * 3600
# Four interpreters start side by side, on a machine whose servers have only just come up.
READY_WITHIN_S = 60.0
ASK_EVERY_S = 0.2
# The edge drains in a few seconds; who needs longer than this hangs.
END_WITHIN_S = 15.0
EXIT_FAILED = 1


class LocalFailure(Exception):
    """The platform cannot run here; the message says why in one line or with a log's end."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service as a child process."""

    role: str
    url: str
    log: Path
    child: subprocess.Popen[bytes]

    @classmethod
    def start(cls, role: str, port: int, env: Mapping[str, str], folder: Path) -> Service:
        log = folder / f"{role}.log"
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches us alone, and we end the services before their servers.
            child = subprocess.Popen(
                [sys.executable, "-m", "services.cli", role],
                env={**env, "CARILLON_PORT": str(port)},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return cls(role, f"http://127.0.0.1:{port}", log, child)

    @property
    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == http.client.OK)
        except OSError:
            return False

    def check_alive(self) -> None:
        if self.child.poll() is not None:
            raise LocalFailure(f"{self.role} ended with {self.child.returncode}; its output ends:\n{self._tail()}")

    def end(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def service_env(
    amqp_url: str, mongo_url: str, ports: Mapping[str, int], *, producer_key: str, operator_key: str, jwt_secret: str
) -> dict[str, str]:
    """What all four services are told."""
    metrics_urls = [f"http://127.0.0.1:{ports[role]}/metrics" for role in ROLES if role != "console"]
    return {
        "CARILLON_LOG_FORMAT": "text",
        "CARILLON_CONSOLE_METRICS_URLS": json.dumps(metrics_urls),
        **os.environ,
        "CARILLON_BACKENDS": "rabbitmq-mongodb",
        "CARILLON_AMQP_URL": amqp_url,
        "CARILLON_MONGO_URL": mongo_url,
        "CARILLON_HOST": "127.0.0.1",
        "CARILLON_PRODUCER_KEYS": f"local={producer_key}",
        "CARILLON_OPERATOR_KEYS": f"local={operator_key}",
        "CARILLON_JWT_SECRET": jwt_secret,
        "CARILLON_SESSION_SECRET": secrets.token_hex(32),
        # Browsers and curl take no Secure cookie over plain http.
        "CARILLON_COOKIE_SECURE": "false",
    }


@contextlib.contextmanager
def all_services(env: Mapping[str, str], ports: Mapping[str, int], folder: Path) -> Iterator[list[Service]]:
    """The four services, ready; they end in the order in which they were started."""
    services: list[Service] = []
    try:
        for role in ROLES:
            services.append(Service.start(role, ports[role], env, folder))
        deadline = time.monotonic() + READY_WITHIN_S
        for service in services:
            while not service.is_ready:
                service.check_alive()
                if time.monotonic() > deadline:
                    raise LocalFailure(f"{service.role} was not ready after {READY_WITHIN_S:.0f} s; see {service.log}")
                time.sleep(ASK_EVERY_S)
        yield services
    finally:
        for service in services:
            service.end()


def chosen_ports(base: int) -> dict[str, int]:
    """A port for each role: `base` and those after it, or free ones for 0. Raises `LocalFailure` for a taken one."""
    ports = {role: base + offset if base else free_port() for offset, role in enumerate(ROLES)}
    for role, port in ports.items():
        with socket.socket() as probe:
            # Without this another program that answers there would be taken for our service.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError) as refused:
                fix = "choose others with --base-port, or 0 for free ones"
                raise LocalFailure(f"port {port} for {role} cannot be used ({refused}); {fix}") from None
    return ports


def greeting(
    urls: Mapping[str, str], amqp_url: str, mongo_url: str, logs: Path, *, key: str, operator_key: str, token: str
) -> str:
    """Where everything is, and lines to paste."""
    return f"""
Carillon, four services on RabbitMQ and MongoDB; the data goes when this ends

  ingest     {urls["ingest"]}/v1/events
  edge       {urls["edge"]}/v1/events
  console    {urls["console"]}/console    with the key: {operator_key}
  persister  {urls["persister"]}/readyz
  rabbitmq   {amqp_url}
  mongodb    {mongo_url}
  logs       {logs}

A token of {DEMO_USER}'s:

  TOKEN={token}

Follow {DEMO_USER}'s stream:

  curl -s -c alice.cookies -X POST {urls["edge"]}/v1/session -H "Authorization: Bearer $TOKEN"
  curl -N -b alice.cookies {urls["edge"]}/v1/events

Publish to it:

  curl {urls["ingest"]}/v1/events -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/cloudevents+json' \\
    -d '{{"specversion":"1.0","id":"'$(date +%s%N)'","source":"/shell","type":"greeting.sent",\
"audience":"user:{DEMO_USER}","data":{{"text":"Hello"}}}}'

Ctrl-C ends all of it.
"""


def run(base_port: int) -> None:
    """Runs until SIGINT or SIGTERM, or until one of the services ends."""
    key, operator_key, jwt_secret = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(32)
    ports = chosen_ports(base_port)
    print("starting RabbitMQ and MongoDB (about ten seconds)", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="carillon-local-") as folder,
        running(RabbitServer) as rabbit,
        running(MongoServer) as mongo,
    ):
        env = service_env(
            rabbit.url, mongo.url, ports, producer_key=key, operator_key=operator_key, jwt_secret=jwt_secret
        )
        with all_services(env, ports, Path(folder)) as services:
            urls = {service.role: service.url for service in services}
            token = sign_token(jwt_secret, DEMO_USER, ttl_s=DEMO_TOKEN_TTL_S)
            told = greeting(urls, rabbit.url, mongo.url, Path(folder), key=key, operator_key=operator_key, token=token)
            print(told, flush=True)
            print("ready", flush=True)
            while True:
                for service in services:
                    service.check_alive()
                time.sleep(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument(
        "--base-port",
        type=int,
        default=DEFAULT_BASE_PORT,
        metavar="PORT",
        help="ingest gets it, edge, console and persister the next three; 0 takes free ones (default: %(default)s)",
    )
    base_port = parser.parse_args(arguments).base_port
    # SIGINT too: a shell that starts us in the background has us ignore it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run(base_port)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    except (LocalFailure, ServerUnavailable) as failed:
        print(f"infra.local: {failed}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
