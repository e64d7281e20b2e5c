"""One SQLite database on a thread of its own: a function per transaction is handed to that thread.

SQLite's errors are translated here, once, into the `Unavailable` of the port that is served.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from shared.model.errors import Unavailable

Result = TypeVar("Result")
Transaction = Callable[[sqlite3.Connection], Result]
Synchronous = Literal["FULL", "NORMAL"]

# A busy disk answers in milliseconds; whoever waits longer than this is better told to come again.
ANSWER_WITHIN_S = 10.0
# Another process may hold the file for one transaction of its own (a backup, a second client).
LOCK_WITHIN_S = 5.0
# Holds the inner pages of the indexes of millions of entries, so that a deep log reads like a short one.
CACHE_KIB = 64 * 1024
# Each checkpoint costs two fsyncs within somebody's commit: 16 MiB of log keep them rare.
CHECKPOINT_EVERY_PAGES = 4000

_UNANSWERED = (sqlite3.OperationalError, sqlite3.InternalError)
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_BUSY: "another process holds it: stop that process",
    sqlite3.SQLITE_LOCKED: "another process holds it: stop that process",
    sqlite3.SQLITE_CANTOPEN: "make sure that its folder exists and can be written by this user",
    sqlite3.SQLITE_READONLY: "let this user write the file and its folder",
    sqlite3.SQLITE_PERM: "let this user write the file and its folder",
    sqlite3.SQLITE_IOERR: "the disk failed or is full: look at the system's log",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: move it away or restore it from a backup",
}


def advice(error: sqlite3.Error) -> str:
    """What an operator should do about it."""
    # The low byte of an extended code is the primary one. https://www.sqlite.org/rescode.html
    return _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "look at the system's log")


class Database:
    """Promises.

    - Transactions of `write` happen one after the other, in the order of the calls; what one
      returned is on the disk (WAL, synchronous=FULL), or with NORMAL survives a crash of the process.
    - `read` sees one snapshot, holding every write that returned before, and waits for no writer.
    - Whatever the transaction function raises itself undoes the transaction and is passed on.
    - SQLite's own failures, and a disk silent for `ANSWER_WITHIN_S`, raise `unavailable`; the
      transaction may then have taken effect.
    """

    def __init__(self, path: Path | None, unavailable: Callable[[str], Unavailable], synchronous: Synchronous) -> None:
        self._name = str(path) if path else "the database in memory"
        self._target = str(path) if path else ":memory:"
        self._unavailable = unavailable
        self._closed = False
        self._writer = _Connection(self._target, synchronous)
        # A database in memory belongs to its one connection.
        self._reader = _Connection(self._target, synchronous) if path else self._writer

    async def write(self, transaction: Transaction[Result]) -> Result:
        """Runs a transaction that may write."""
        return await self._answer(self._writer, partial(self._writer.run, "BEGIN IMMEDIATE", transaction))

    async def read(self, transaction: Transaction[Result]) -> Result:
        """Runs a transaction that only reads."""
        return await self._answer(self._reader, partial(self._reader.run, "BEGIN", transaction))

    async def _open(self, schema: str) -> None:
        for connection in dict.fromkeys((self._writer, self._reader)):
            await self._answer(connection, connection.open)
            if connection is self._writer:
                await self._answer(connection, partial(connection.prepare, schema))

    async def _close(self) -> None:
        self._closed = True
        for connection in dict.fromkeys((self._reader, self._writer)):
            await asyncio.wait([connection.on_thread(connection.close)], timeout=ANSWER_WITHIN_S)
            connection.thread.shutdown(wait=False)

    async def _answer(self, connection: _Connection, work: Callable[[], Result]) -> Result:
        if self._closed:
            raise self._unavailable(f"{self._name} was closed")
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await connection.on_thread(work)
        except TimeoutError:
            problem = f"no answer within {ANSWER_WITHIN_S:.0f} s; look at the load and health of its disk"
            raise self._unavailable(f"{self._name}: {problem}") from None
        except sqlite3.DatabaseError as error:
            # The subclasses left out (constraints, misuse) are answers, and their caller's business.
            if isinstance(error, _UNANSWERED) or type(error) is sqlite3.DatabaseError:
                raise self._unavailable(f"{self._name}: {error}; {advice(error)}") from error
            raise


class _Connection:
    """A connection and the only thread that uses it."""

    def __init__(self, target: str, synchronous: Synchronous) -> None:
        self._target, self._synchronous = target, synchronous
        self._connection: sqlite3.Connection | None = None
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite {Path(target).name}")

    def on_thread(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self.thread, work)

    def open(self) -> None:
        self._connection = sqlite3.connect(self._target, timeout=LOCK_WITHIN_S, isolation_level=None)
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {self._synchronous}",
            "foreign_keys = OFF",
            f"cache_size = -{CACHE_KIB}",
            f"wal_autocheckpoint = {CHECKPOINT_EVERY_PAGES}",
        ):
            self._connection.execute(f"PRAGMA {pragma}").close()

    def prepare(self, schema: str) -> None:
        assert self._connection is not None
        self._connection.executescript(schema)

    def run(self, begin: str, transaction: Transaction[Result]) -> Result:
        connection = self._connection
        assert connection is not None
        connection.execute(begin)
        try:
            result = transaction(connection)
            connection.execute("COMMIT")
        except BaseException:
            # Some failures (a full disk) have SQLite roll back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@asynccontextmanager
async def open_database(
    path: Path | None, schema: str, unavailable: Callable[[str], Unavailable], *, synchronous: Synchronous = "FULL"
) -> AsyncIterator[Database]:
    """Opens the database at `path`, made where there is none; None keeps it in memory.

    `schema` is a script that may run again over an existing database.
    """
    database = Database(path, unavailable, synchronous)
    try:
        await database._open(schema)
        yield database
    finally:
        await database._close()
