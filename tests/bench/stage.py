"""What the benchmarks run on: servers, services as processes, a folder, and a place to tell progress."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.servers import MongoServer, RabbitServer, free_port, running
from services.edge.sessions import SessionCookie
from shared.model.settings import Settings
from tests.harness.process import Service

PRODUCER_KEY = "bench-key"
# Streams are told to come back and heartbeats sent only in ways that no run would count.
HEARTBEAT_S = 300
SESSION_TTL_S = 3600.0


class Stage:
    """Opened once; every benchmark takes a namespace and a database of its own on the same two servers."""

    def __init__(self, *, runs: int, quick: bool) -> None:
        self.run_count, self.quick = runs, quick
        self.folder = Path(tempfile.mkdtemp(prefix="carillon-bench-"))
        self._opened = contextlib.ExitStack()
        self._opened.callback(shutil.rmtree, self.folder, ignore_errors=True)

    @cached_property
    def rabbitmq(self) -> RabbitServer:
        """The RabbitMQ node, started when it is first asked for."""
        self.tell("starting RabbitMQ")
        return self._opened.enter_context(running(RabbitServer))

    @cached_property
    def mongodb(self) -> MongoServer:
        """The mongod, started when it is first asked for."""
        self.tell("starting MongoDB")
        return self._opened.enter_context(running(MongoServer))

    def runs(self) -> range:
        """One number a run."""
        return range(1, self.run_count + 1)

    def size(self, full: int, quick: int) -> int:
        """How much of something this run takes."""
        return quick if self.quick else full

    def tell(self, progress: str) -> None:
        """One line for who waits."""
        print(f"  {time.strftime('%H:%M:%S')}  {progress}", file=sys.stderr, flush=True)

    def installation(self, **settings: object) -> Installation:
        """A Carillon of its own on the servers; nothing of it runs yet."""
        name = f"b{secrets.token_hex(4)}"
        return Installation(
            self.folder,
            {
                "amqp_url": self.rabbitmq.url,
                "mongo_url": self.mongodb.url,
                "mongo_database": name,
                "namespace": name,
                "producer_keys": f"bench={PRODUCER_KEY}",
                "jwt_secret": secrets.token_hex(32),
                "session_secret": secrets.token_hex(32),
                "cookie_secure": "false",
                "log_format": "text",
                "log_level": "warning",
                "heartbeat_s": HEARTBEAT_S,
                # A minute without an answer is a result, not a reason to begin again.
                "backend_timeout_s": 60,
                **settings,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()


@dataclass(frozen=True, slots=True)
class Installation:
    """Settings that some services share."""

    folder: Path
    given: Mapping[str, object]

    @property
    def settings(self) -> Settings:
        """As the services read them."""
        return Settings.load(**self.given)

    @property
    def env(self) -> dict[str, str]:
        """The same as variables of the environment."""
        return {f"CARILLON_{name.upper()}": str(value) for name, value in self.given.items()}

    def changed(self, **settings: object) -> Installation:
        """The same servers, namespace and secrets with these settings changed."""
        return Installation(self.folder, {**self.given, **settings})

    def cookies(self, users: Sequence[str], *grants: str) -> list[str]:
        """A session for each user, as `name=value`; made here, because signing in is not what is measured."""
        return signed_cookies(str(self.given["session_secret"]), users, *grants)

    @contextlib.asynccontextmanager
    async def running(self, *roles: str) -> AsyncIterator[list[Service]]:
        """These services, ready, each a process; ended at the end."""
        services = [self.service(role) for role in roles]
        try:
            for service in services:
                service.start()
            await asyncio.gather(*(service.ready() for service in services))
            yield services
        finally:
            for service in services:
                service.end()

    @contextlib.asynccontextmanager
    async def started(self, role: str) -> AsyncIterator[Service]:
        """This service from its very start: what it does before it is ready is measured, too. Ended at the end."""
        service = self.service(role)
        service.start()
        try:
            yield service
        finally:
            service.end()

    def service(self, role: str) -> Service:
        """One service, not started."""
        port = free_port()
        env = self.env | {"CARILLON_PORT": str(port)}
        return Service(f"{role}-{port}", [role], f"http://127.0.0.1:{port}", env, self.folder)


def signed_cookies(secret: str, users: Sequence[str], *grants: str) -> list[str]:
    """Sessions as the edge itself would sign them."""
    cookie = SessionCookie([secret], SESSION_TTL_S, secure=False)
    not_after = time.time() + SESSION_TTL_S
    return [f"{cookie.name}={cookie.sign(cookie.open(user, grants, not_after))}" for user in users]
