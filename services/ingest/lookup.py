"""Duplicate lookups: those that happen at the same time become one question to the log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from shared.model.entry import Identity
from shared.model.errors import Unavailable
from shared.ports.event_log import EventLog

# One query of either log answers so many identities in a few milliseconds.
MAX_IDENTITIES = 500


@dataclass(frozen=True, slots=True)
class _Question:
    identities: Collection[Identity]
    answer: asyncio.Future[Mapping[Identity, int]]


class PositionLookup:
    """Asks the log where events are.

    One question is under way at a time; what is asked meanwhile waits for the next one. Under load
    the questions so grow by themselves, and a lone event is asked for at once.
    """

    def __init__(self, event_log: EventLog) -> None:
        self._event_log = event_log
        self._waiting: deque[_Question] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def positions(self, identities: Collection[Identity]) -> Mapping[Identity, int]:
        """The positions of those that the log holds, and perhaps of others. Raises `LogUnavailable`."""
        question = _Question(identities, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="ingest-lookup")
        return await question.answer

    async def _ask(self) -> None:
        while self._waiting:
            questions = self._next()
            try:
                found = await self._event_log.positions({one for asked in questions for one in asked.identities})
            except BaseException as failed:
                # Whoever came meanwhile would wait for a second timeout: one bound holds for all.
                failure = failed if isinstance(failed, Exception) else Unavailable("log", "the server is stopping")
                self._fail([*questions, *self._waiting], failure)
                if isinstance(failed, Exception):
                    return
                raise
            for question in questions:
                if not question.answer.done():
                    question.answer.set_result(found)

    def _next(self) -> list[_Question]:
        """At least one, and no more than fit one query; who gave up is not asked for."""
        questions: list[_Question] = []
        size = 0
        while self._waiting and (not questions or size + len(self._waiting[0].identities) <= MAX_IDENTITIES):
            question = self._waiting.popleft()
            if not question.answer.done():
                questions.append(question)
                size += len(question.identities)
        return questions

    def _fail(self, questions: Collection[_Question], failure: Exception) -> None:
        self._waiting.clear()
        for question in questions:
            if not question.answer.done():
                question.answer.set_exception(failure)
