"""Duplicate lookups: those that happen at the same time become one question to the log."""

from __future__ import annotations

import asyncio

from shared.model.entry import Identity
from shared.model.errors import Unavailable
from shared.ports.event_log import EventLog

# One query of either log answers so many identities in a few milliseconds.
MAX_IDENTITIES = 500


class PositionLookup:
    """Asks the log where events are.

    One question is under way at a time; what is asked meanwhile waits for the next one. Under load
    the questions so grow by themselves, and a lone event is asked for at once.
    """

    def __init__(self, event_log: EventLog) -> None:
        self._event_log = event_log
        self._waiting: dict[Identity, asyncio.Future[int | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def position(self, identity: Identity) -> int | None:
        """The event's position, None where the log does not hold it. Raises `LogUnavailable`."""
        answer = self._waiting.get(identity)
        if answer is None:
            answer = self._waiting[identity] = asyncio.get_running_loop().create_future()
            # Everyone who asked may be gone by the time of the answer, which is nobody's error.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="ingest-lookup")
        # Several may wait for this answer: one that gives up must not take it from the others.
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        while self._waiting:
            identities = list(self._waiting)[:MAX_IDENTITIES]
            answers = {identity: self._waiting.pop(identity) for identity in identities}
            try:
                positions = await self._event_log.positions(identities)
            except BaseException as failed:
                # Whoever came meanwhile would wait for a second timeout: one bound holds for all.
                failure = failed if isinstance(failed, Exception) else Unavailable("log", "the server is stopping")
                self._fail(answers | self._waiting, failure)
                if isinstance(failed, Exception):
                    return
                raise
            for identity, answer in answers.items():
                answer.set_result(positions.get(identity))

    def _fail(self, answers: dict[Identity, asyncio.Future[int | None]], failure: Exception) -> None:
        self._waiting = {}
        for answer in answers.values():
            answer.set_exception(failure)
