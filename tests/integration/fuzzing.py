"""What all fuzz tests of the edge share: the edge, a watch over it, and people with every kind of credentials."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from shared.model.tags import user_tag
from tests.eventually import eventually
from tests.harness.asgi import Answer, Headers, ask
from tests.harness.own_edge import OPERATOR_KEY, OwnEdge, own_edge

COOKIE = "__Host-carillon"
CREDENTIALS = ("none", "bearer", "cookie", "ticket", "operator", "garbage")


class Complaints(logging.Handler):
    """Everything that was logged as an error or with a traceback, and what reached the loop's last resort."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.all.append(self.format(record))

    def check_none(self) -> None:
        """Nothing came since the last call."""
        complaints, self.all = self.all, []
        assert complaints == [], complaints

    def of_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Python 3.11 asks a connection's task for its exception also where it was cancelled, as all are at the end.
        if not isinstance(context.get("exception"), asyncio.CancelledError):
            self.all.append(f"{context.get('message')}: {context.get('exception')!r}")


class Fuzzed:
    """An edge under attack."""

    def __init__(self, own: OwnEdge, complaints: Complaints) -> None:
        self.own, self.complaints = own, complaints
        self._users: Iterator[int] = itertools.count()

    async def credentials(self, kind: str) -> tuple[list[tuple[bytes, bytes]], str]:
        """(headers, query) of somebody who was never here before."""
        bearer = self.own.bearer(f"u{next(self._users)}", tags=["topic:builds/*", "topic:news"])["Authorization"]
        match kind:
            case "bearer":
                return [(b"authorization", bearer.encode())], ""
            case "cookie":
                return [(b"cookie", await self._cookie(bearer))], ""
            case "ticket":
                return [], f"ticket={await self._ticket(bearer)}"
            case "operator":
                return [(b"authorization", f"Bearer {OPERATOR_KEY}".encode())], ""
            case "garbage":
                return [(b"authorization", bearer[:-3].encode()), (b"cookie", f"{COOKIE}=a.b.c".encode())], ""
        return [], ""

    async def ask(self, method: str, target: bytes, headers: Headers = (), body: bytes = b"") -> Answer:
        """One request, whose answer is in order whatever it was."""
        answer = await ask(self.own.app, method, target, headers, body)
        check(answer, method)
        self.check_calm()
        return answer

    def check_calm(self) -> None:
        """Nothing was complained about since the last call."""
        self.complaints.check_none()

    async def _cookie(self, bearer: str) -> bytes:
        answer = await ask(self.own.app, "POST", b"/v1/session", [(b"authorization", bearer.encode())])
        return answer.headers["set-cookie"].split(";", 1)[0].encode()

    async def _ticket(self, bearer: str) -> str:
        answer = await ask(self.own.app, "POST", b"/v1/tickets", [(b"authorization", bearer.encode())])
        return answer.body.decode().split('"')[3]


def check(answer: Answer, method: str) -> None:
    """No failure of the server, and a problem document wherever there is a problem."""
    assert 200 <= answer.status < 500, answer
    assert answer.status < 300 or method == "HEAD" or answer.problem, answer
    if answer.is_stream and method == "GET" and "content-encoding" not in answer.headers:
        assert answer.body.startswith(b"retry: "), answer


@contextmanager
def watching() -> Iterator[Complaints]:
    """All that is complained about in between; at the end nothing may have been."""
    complaints, loop = Complaints(), asyncio.get_running_loop()
    former = loop.get_exception_handler()
    logging.getLogger().addHandler(complaints)
    loop.set_exception_handler(complaints.of_loop)
    try:
        yield complaints
        assert complaints.all == [], complaints.all
    finally:
        loop.set_exception_handler(former)
        logging.getLogger().removeHandler(complaints)


@asynccontextmanager
async def fuzzed_edge(**settings: Any) -> AsyncIterator[Fuzzed]:
    """An edge that nothing may be left of at the end: connection, feed or task; nor may it have complained."""
    limits: dict[str, Any] = {
        "connects_per_address_per_s": 1e6,
        "connects_per_user_per_s": 1e6,
        "cookie_secure": "true",
    }
    with watching() as complaints:
        async with own_edge(**(limits | settings)) as own:
            fuzzed = Fuzzed(own, complaints)
            await _warm_up(fuzzed)
            before = _held(own)
            yield fuzzed
            await eventually(lambda: not _grown(before, _held(own)))


async def _warm_up(fuzzed: Fuzzed) -> None:
    """Once through all that starts something for good."""
    for kind in CREDENTIALS:
        headers, query = await fuzzed.credentials(kind)
        await fuzzed.ask("GET", f"/v1/events?{query}".encode(), headers)
    await fuzzed.own.publish(user_tag("u0"))
    await eventually(lambda: fuzzed.own.edge.connection_count == 0)


def _held(own: OwnEdge) -> Counter[str]:
    """How much there is of everything."""
    tasks = Counter(f"task {task.get_name().rstrip('0123456789')}" for task in asyncio.all_tasks())
    return tasks + Counter(own.edge.statistics())


def _grown(before: Counter[str], now: Counter[str]) -> dict[str, int]:
    return dict(now - before)
