"""The promises of the ports as checks that any adapter can be held to: plain asserts, no pytest.

An adapter's tests give a maker and run every check of `EVENT_LOG_CHECKS`, `LOG_UPKEEP_CHECKS`,
`BROKER_CHECKS`, `RPC_CHECKS`, `SESSION_STORE_CHECKS`, `READ_MODELS_CHECKS` and `FOLDING_CHECKS`:

    @asynccontextmanager
    async def make() -> AsyncIterator[Storage[EventLog]]:
        async with a_database_with_a_fresh_name() as database:
            yield MyLogStorage(database)          # its .client() opens an EventLog over it

    await check_event_log(make)

Whatever fails is an `AssertionError` whose text names the promise that was broken.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.ports.journeys import JourneyStore
from shared.ports.producers import ProducerStore
from shared.ports.read_models import ReadModels
from shared.ports.sessions import SessionStore

Port_co = TypeVar("Port_co", covariant=True)


class Storage(Protocol[Port_co]):
    """What one fresh, empty backend keeps, whoever comes and goes."""

    def client(self) -> AbstractAsyncContextManager[Port_co]:
        """Opens one client of this storage; leaving it is the end of that client's process.

        Checks of all but the broker hold several clients at once, as two processes
        would. Checks of the broker open the next client only after they left the one before: that is
        their restart. What no longer fits one client (an unacknowledged arrival, a lease) must survive it.
        """
        ...


LogMaker = Callable[[], AbstractAsyncContextManager[Storage[EventLog]]]
"""Gives a log that nobody has written to; leaving it may delete everything."""

BrokerMaker = Callable[[], AbstractAsyncContextManager[Storage[Broker]]]
"""Gives a broker that nobody has published to; leaving it may delete everything."""

SessionStoreMaker = Callable[[], AbstractAsyncContextManager[Storage[SessionStore]]]
"""Gives a session store that nobody has used; leaving it may delete everything."""

ReadModelsMaker = Callable[[], AbstractAsyncContextManager[Storage[ReadModels]]]
"""Gives read models that nobody has used; leaving it may delete everything."""

JourneyStoreMaker = Callable[[], AbstractAsyncContextManager[Storage[JourneyStore]]]
"""Gives a journey store that nobody has used; leaving it may delete everything."""

ProducerStoreMaker = Callable[[], AbstractAsyncContextManager[Storage[ProducerStore]]]
"""Gives a store of producers' keys that nobody has used; leaving it may delete everything."""
