"""Transactions one after the other, in a thread and a session of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pymongo
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from shared.mongo.client import MAJORITY, DatabaseClient
from shared.mongo.documents import Document

Result = TypeVar("Result")
Work = Callable[[Database[Document], ClientSession], Result]


class TransactionThread:
    """Not with Motor's own session: a cancelled caller would abort it from another thread while a
    statement of it still runs, and a session belongs to one thread. So a transaction whose caller
    went away ends before the next begins. It also saves hops between threads.
    """

    def __init__(self, client: DatabaseClient, name: str) -> None:
        self._client = client
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        # One session: its next transaction ends the one before it, if that was left open in the server
        # by a broken connection, where it would keep its documents locked for a minute.
        self._session: ClientSession | None = None

    async def session_id(self) -> Binary:
        """Names the session in the server, for whoever has to end it after we were killed."""
        session = await self._in_thread(self._opened)
        identifier: Binary = session.session_id["id"]
        return identifier

    async def run(self, work: Work[Result]) -> Result:
        """Runs a transaction, within the client's bound; `work` may be called again.

        with_transaction commits again after an unknown result and starts over after a transient error,
        until the time is up: https://www.mongodb.com/docs/manual/core/transactions-in-applications/
        """
        return await self._in_thread(lambda: self._transacted(work))

    async def close(self) -> None:
        """Ends the session, whose open transaction goes with it, and leaves the server."""
        await self._client.close(self._thread)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _transacted(self, work: Work[Result]) -> Result:
        database: Database[Document] = self._client.database.delegate
        with pymongo.timeout(self._client.driver_timeout_s):
            return self._opened().with_transaction(
                lambda session: work(database, session), read_concern=ReadConcern("majority"), write_concern=MAJORITY
            )

    def _opened(self) -> ClientSession:
        if self._session is None:
            client: MongoClient[Document] = self._client.motor.delegate
            self._session = client.start_session()
        return self._session

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
