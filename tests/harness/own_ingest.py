"""An ingest of this process's own, with a persister behind it, on the embedded backends in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from quart import Quart

from services.ingest.service import open_ingest
from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable
from shared.model.event import Event
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.web.app import make_app
from shared.wiring import Backends, open_backends
from tests.eventually import answered
from tests.harness.asgi import Answer, Headers, ask
from tests.harness.own_edge import own_persister

KEY, OTHER_KEY = "key", "other-key"
KEYS = f"shop={KEY},other={OTHER_KEY}"


class SwitchedBroker:
    """The broker, but that publishing fails or waits while a test says so."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.is_away = False
        self.may_confirm = asyncio.Event()
        self.may_confirm.set()
        self.under_way = 0

    async def publish(self, *events: Event) -> None:
        self.under_way += len(events)
        try:
            await self.may_confirm.wait()
        finally:
            self.under_way -= len(events)
        if self.is_away:
            raise BrokerUnavailable("refused by the test at amqp://inner.example")
        await self._broker.publish(*events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


class OwnIngest:
    """What a test does with it."""

    def __init__(self, app: Quart, backends: Backends, switch: SwitchedBroker) -> None:
        self.app, self.backends, self.switch = app, backends, switch

    async def ask(
        self, method: str, target: bytes, body: bytes = b"", headers: Headers = (), key: str | None = KEY
    ) -> Answer:
        """One request of a producer that has this key."""
        authorized = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
        return await ask(self.app, method, target, [*authorized, *headers], body)

    async def entries(self, count: int) -> list[Entry]:
        """The log, once it holds so many entries; fails where it holds more."""

        async def look() -> list[Entry]:
            found = list((await self.backends.event_log.read(0, count + 1)).entries)
            assert len(found) >= count
            return found

        found = await answered(look, AssertionError)
        assert len(found) == count
        return found

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The log's events as they are shown."""
        return [json.loads(entry.event) for entry in await self.entries(count)]


@asynccontextmanager
async def own_ingest(settings: Mapping[str, object] | None = None) -> AsyncIterator[OwnIngest]:
    """Ready at once, gone at the end."""
    quick = {"backends": "embedded", "producer_keys": KEYS, "batch_max_wait_ms": 0.0}
    loaded = Settings.load(**(quick | dict(settings or {})))
    async with open_backends(loaded) as backends, own_persister(loaded, backends):
        switch = SwitchedBroker(backends.broker)
        switched = dataclasses.replace(backends, broker=cast(Broker, switch))
        async with open_ingest(loaded, switched) as doors:
            yield OwnIngest(make_app("ingest", loaded, *doors.blueprints, probes=doors.probes), switched, switch)
