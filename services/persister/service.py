"""The persister as a process: its loops, and a small HTTP side for its health."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from typing import TYPE_CHECKING

from services.persister.dispatcher import Dispatcher
from services.persister.tenure import Tenure
from services.persister.writer import Writer

if TYPE_CHECKING:
    from shared.model.settings import Settings
    from shared.ports.broker import Broker
    from shared.ports.event_log import EventLog

DEFAULT_PORT = 8084


async def persist(settings: Settings, broker: Broker, event_log: EventLog) -> None:
    """Runs the persister's loops until cancelled. The death of one is the death of all."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    tenure = Tenure(event_log, broker, owner, settings.lease_s)
    async with asyncio.TaskGroup() as loops:
        loops.create_task(tenure.keep(), name="persister-tenure")
        loops.create_task(Writer(broker, event_log, tenure, settings).run(), name="persister-writer")
        loops.create_task(Dispatcher(broker, event_log, tenure).run(), name="persister-dispatcher")
