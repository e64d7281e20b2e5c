"""Ingest's own parts over real embedded backends, with switches for what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from quart import Quart

from services.ingest import routes
from services.ingest.producers import Producers
from services.ingest.publisher import Publisher
from services.ingest.reception import Reception, Rules, anything
from shared.embedded import open_embedded
from shared.model.entry import Entry, Identity
from shared.model.errors import BrokerUnavailable, LogUnavailable
from shared.model.event import Event
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.web.app import make_app
from shared.web.keys import ApiKeys
from tests.harness.serving import serving

KEY = {"Authorization": "Bearer key"}


class SwitchedBackends:
    """A broker and a log, and what was asked of them."""

    def __init__(self, broker: Broker, event_log: EventLog) -> None:
        self.broker, self.event_log = broker, event_log
        self.questions: list[list[Identity]] = []
        self.published: list[Event] = []
        self.broker_away = self.log_away = False
        self.under_way = 0
        self.calls_until_away: int | None = None
        """How many publishes more succeed."""
        self.asked, self.log_may_answer, self.broker_may_confirm = (asyncio.Event() for _ in range(3))
        self.log_may_answer.set()
        self.broker_may_confirm.set()

    async def publish(self, *events: Event) -> None:
        self.under_way += len(events)
        await self.broker_may_confirm.wait()
        if self.broker_away or self.calls_until_away == 0:
            raise BrokerUnavailable("refused")
        if self.calls_until_away is not None:
            self.calls_until_away -= 1
        await self.broker.publish(*events)
        self.published += events

    async def positions(self, identities: Collection[Identity]) -> Mapping[Identity, int]:
        self.questions.append(list(identities))
        self.asked.set()
        await self.log_may_answer.wait()
        if self.log_away:
            raise LogUnavailable("refused")
        return await self.event_log.positions(identities)

    async def entries(self, positions: Collection[int]) -> Sequence[Entry]:
        return await self.event_log.entries(positions)

    async def append(self, event: Event) -> None:
        """As the persister would."""
        fence = await self.event_log.claim("test", 10, force=True)
        assert fence is not None
        now = datetime.now(UTC).replace(microsecond=0)
        what = (event.source, event.id, event.type, event.subject, event.tags, event.is_final)
        context = (event.traceparent, event.tracestate)
        entry = Entry(fence.last + 1, None, *what, *context, now, event.public_json())
        await self.event_log.append(fence, [entry])

    async def append_all(self, events: Sequence[Mapping[str, Any]]) -> None:
        for attributes in events:
            await self.append(Event.from_attributes(dict(attributes)))

    def app(self, max_event_bytes: int = 4096, **overrides: object) -> Quart:
        settings = Settings.load(max_event_bytes=max_event_bytes, **overrides)
        keys = ApiKeys({"shop": "key"}, "CARILLON_PRODUCER_KEYS")
        producers = Producers(keys, events_per_s=settings.producer_events_per_s)
        door = routes.blueprint(self.reception(max_event_bytes), producers, settings)
        return make_app("ingest", settings, door, probes={})

    def reception(
        self,
        max_event_bytes: int = 4096,
        timeout_s: float = 30.0,
        rules: Rules | None = None,
        check: Callable[[Event], None] = anything,
    ) -> Reception:
        return Reception(self.publisher(max_event_bytes), timeout_s, rules, check)

    def publisher(self, max_event_bytes: int = 4096) -> Publisher:
        return Publisher(cast(Broker, self), cast(EventLog, self), max_event_bytes)


@asynccontextmanager
async def open_switched() -> AsyncIterator[SwitchedBackends]:
    """Fresh ones in memory."""
    async with open_embedded(None) as (broker, event_log, *_):
        yield SwitchedBackends(broker, event_log)


@asynccontextmanager
async def served(app: Quart) -> AsyncIterator[str]:
    """The app at a free port of this machine, as a process would serve it; yields its URL."""
    async with serving(app) as port:
        yield f"http://127.0.0.1:{port}"
