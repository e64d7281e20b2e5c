"""A whole platform of real processes, in a namespace and a database of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.servers import free_port
from services.persister.projections.rebuilding import verified
from shared.folds import PROJECTIONS
from shared.model.entry import Entry
from shared.model.settings import Settings
from shared.ports.event_log import DISPATCHED, EventLog
from shared.ports.read_models import ReadModels, Stage
from shared.wiring import Backends, open_backends
from shared.wiring.log_only import open_log, open_read_models
from tests.eventually import answered
from tests.harness.checker import Confirmed, check_promises
from tests.harness.process import Service
from tests.harness.publisher import Publisher
from tests.harness.reader import Readers

PRODUCER_KEY = "harness-key"
READ_PAGE = 2000
# After the last fault everything must come to rest by itself.
SETTLED_WITHIN_S = 90.0
# Where no test takes anything away: what is slow is waited for, and nobody is told that it is away.
PATIENT: dict[str, object] = {"backend_timeout_s": 20.0}
FOLDED = [projection.model.name for projection in PROJECTIONS]


class Platform(ABC):
    """What the four services and `carillon dev` have in common for a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: list[Service] = []

    @property
    @abstractmethod
    def ingest_url(self) -> str:
        """Where publishers send to."""

    @property
    @abstractmethod
    def edge_urls(self) -> Sequence[str]:
        """Where readers may connect."""

    @property
    @abstractmethod
    def producer_key(self) -> str:
        """What publishers show."""

    @property
    @abstractmethod
    def jwt_secret(self) -> str:
        """What readers' tokens are signed with."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """Where the platform keeps its log and read models."""

    @abstractmethod
    def backends(self) -> AbstractAsyncContextManager[Backends]:
        """The platform's broker and log, opened in this process."""

    async def folds_are_true(self, names: Collection[str] = FOLDED) -> None:
        """Waits until these read models have come to the end of the log, and compares each with a fresh fold."""
        settings = self.settings
        async with open_log(settings) as event_log, open_read_models(settings) as models:
            for projection in PROJECTIONS:
                if (name := projection.model.name) not in names:
                    continue
                at_head = partial(_at_head, event_log, models, name)
                await answered(at_head, AssertionError, within_s=SETTLED_WITHIN_S)
                found = await verified(event_log, models, projection, lambda _: None)
                assert not found.different, f"{name} differs from a fresh fold: {found.examples}"
                assert found.rows, f"nothing was folded into {name}"

    async def whereabouts(self) -> str:
        """How far the log, the dispatch and the read models have come, for a failure's message."""
        async with open_log(self.settings) as event_log, open_read_models(self.settings) as models:
            last, dispatched = (await event_log.head()).last, await event_log.checkpoint(DISPATCHED)
            folded = {one.model.name: one.position for one in await models.generations()}
        return f"the log ends at {last}, {dispatched} were dispatched, and folded: {folded}"

    async def entries(self) -> tuple[str, list[Entry]]:
        """(log id, every entry), read through the event log port."""
        async with self.backends() as backends:
            return await read_log(backends.event_log)

    def publisher(self) -> Publisher:
        """A producer of this platform; to be entered."""
        return Publisher(self.ingest_url, self.producer_key)

    def readers(self) -> Readers:
        """The readers of one test; to be entered."""
        return Readers(self.edge_urls, self.jwt_secret)

    async def keeps_its_promises(
        self, publisher: Publisher, readers: Readers, confirmed: Iterable[Confirmed] = ()
    ) -> list[Entry]:
        """Waits until everything has come to rest, checks every promise, and returns the log.

        A last event to everyone tells when that is: whatever was accepted before it is before it in
        the log, and so in each stream.

        Args:
            confirmed: publishes that went another way than through `publisher`.
        """
        assert readers.all, "without readers nobody can tell when everything has come to rest"
        last = await publisher.publish("everyone", type="harness.last")
        stuck: AssertionError | None = None
        try:
            await readers.received(last.attributes["id"], SETTLED_WITHIN_S)
        except AssertionError as late:
            stuck = late
        await readers.stop()
        log_id, entries = await self.entries()
        # First, because it says what is missing where the other says only that something is.
        check_promises(log_id, entries, [*publisher.confirmed, *confirmed], (reader.reading for reader in readers.all))
        if stuck is not None:
            raise stuck
        return entries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for service in self.services:
                error.add_note(service.tail())
        await asyncio.gather(*(asyncio.to_thread(service.end) for service in self.services))


class FourServices(Platform):
    """Ingest, persisters, edges and console on RabbitMQ and MongoDB."""

    def __init__(self, folder: Path, amqp_url: str, mongo_url: str, **settings: object) -> None:
        super().__init__(folder)
        name = f"t{secrets.token_hex(5)}"
        self._settings: dict[str, object] = {
            "amqp_url": amqp_url,
            "mongo_url": mongo_url,
            "mongo_database": name,
            "namespace": name,
            "producer_keys": f"harness={PRODUCER_KEY}",
            "jwt_secret": secrets.token_hex(32),
            "session_secret": secrets.token_hex(32),
            "cookie_secure": "false",
            "log_format": "text",
            # Short, so that a test sees a takeover and a reconnect in seconds.
            "lease_s": 2.0,
            "retry_ms": 300,
            "drain_s": 1.0,
        } | settings
        self.ingests: list[Service] = []
        self.persisters: list[Service] = []
        self.edges: list[Service] = []

    @property
    def settings(self) -> Settings:
        """As the services read them."""
        return Settings.load(**self._settings)

    @property
    def ingest_url(self) -> str:
        return self.ingests[0].url

    @property
    def edge_urls(self) -> Sequence[str]:
        return [edge.url for edge in self.edges]

    @property
    def producer_key(self) -> str:
        return PRODUCER_KEY

    @property
    def jwt_secret(self) -> str:
        return str(self._settings["jwt_secret"])

    def backends(self) -> AbstractAsyncContextManager[Backends]:
        return open_backends(self.settings)

    async def start(self, *, persisters: int = 1, edges: int = 1) -> Self:
        """Starts the services side by side, and returns when each says that it is ready."""
        self.ingests += [self._start("ingest", "ingest")]
        self.persisters += [self._start("persister", f"persister-{number}") for number in range(1, persisters + 1)]
        self.edges += [self._start("edge", f"edge-{number}") for number in range(1, edges + 1)]
        await asyncio.gather(*(service.ready() for service in self.services))
        return self

    async def start_console(self) -> Service:
        """The console, for the test that asks for it."""
        console = self._start("console", "console")
        await console.ready()
        return console

    async def add_ingest(self) -> Service:
        """One more ingest beside the first, ready."""
        ingest = self._start("ingest", f"ingest-{len(self.ingests) + 1}")
        self.ingests.append(ingest)
        await ingest.ready()
        return ingest

    async def add_edge(self, **settings: object) -> Service:
        """One more edge, ready, that differs from the others by these settings."""
        edge = self._start("edge", f"edge-{len(self.edges) + 1}", **settings)
        self.edges.append(edge)
        await edge.ready()
        return edge

    def _start(self, role: str, name: str, **settings: object) -> Service:
        port = free_port()
        env = environment(self._settings | settings) | {"CARILLON_PORT": str(port)}
        service = Service(name, [role], f"http://127.0.0.1:{port}", env, self.folder)
        self.services.append(service)
        service.start()
        return service


class DevPlatform(Platform):
    """`carillon dev` on a folder of its own."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder)
        self.data_dir = folder / "data"
        port = free_port()
        arguments = ["dev", "--port", str(port), "--data", str(self.data_dir)]
        env = environment({"retry_ms": 300, "log_format": "text"} | settings)
        self.dev = Service("dev", arguments, f"http://127.0.0.1:{port}", env, folder)
        self.services.append(self.dev)

    @property
    def ingest_url(self) -> str:
        return self.dev.url

    @property
    def edge_urls(self) -> Sequence[str]:
        return [self.dev.url]

    @property
    def producer_key(self) -> str:
        return "dev"

    @property
    def settings(self) -> Settings:
        return Settings.load(backends="embedded", data_dir=self.data_dir)

    @property
    def jwt_secret(self) -> str:
        return (self.data_dir / "secret").read_text().strip()

    def backends(self) -> AbstractAsyncContextManager[Backends]:
        """Only while the process does not run: a folder belongs to one at a time."""
        return open_backends(self.settings)

    async def start(self) -> Self:
        """Returns when it says that it is ready."""
        self.dev.start()
        await self.dev.ready()
        return self

    async def entries(self) -> tuple[str, list[Entry]]:
        """Read beside the process, which SQLite allows where the broker of a folder does not."""
        async with open_log(self.settings) as event_log:
            return await read_log(event_log)


@asynccontextmanager
async def four_services(
    folder: Path, amqp_url: str, mongo_url: str, *, persisters: int = 1, edges: int = 1, **settings: object
) -> AsyncIterator[FourServices]:
    """A ready platform, taken down at the end."""
    async with FourServices(folder, amqp_url, mongo_url, **settings) as platform:
        yield await platform.start(persisters=persisters, edges=edges)


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as a service reads them; lists as JSON."""
    return {f"CARILLON_{name.upper()}": _text(value) for name, value in settings.items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def _at_head(event_log: EventLog, models: ReadModels, name: str) -> None:
    """Fails where the current generation is behind."""
    last = (await event_log.head()).last
    found = [one for one in await models.generations(name) if one.stage is Stage.CURRENT]
    assert [one.position for one in found] == [last], f"{name} has not come to {last}: {found}"


async def read_log(event_log: EventLog) -> tuple[str, list[Entry]]:
    """(log id, every entry)."""
    entries: list[Entry] = []
    after = 0
    while True:
        page = await event_log.read(after, READ_PAGE)
        entries += page.entries
        after = page.through
        if page.at_head:
            return page.head.log_id, entries
