"""One edge under churn: `python -m tests.faults.soak --minutes 10`.

Clients connect, stall, drop, resume, are signed out and come with tickets, all under load; in the
end everything that the edge holds must be back at what it was before, and its memory flat.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import httpx

from infra.local.servers import MongoServer, RabbitServer, running
from shared.rabbit.topology import Topology
from tests.eventually import answered
from tests.faults.statistics import OPERATOR_KEYS, counts, descriptors, resident_mib
from tests.harness.crowd import Client, Crowd, crowd_of, keeps_its_promises
from tests.harness.platform import FourServices, four_services
from tests.harness.process import Service
from tests.harness.publisher import Audiences
from tests.harness.visitor import available

USERS, RATE_PER_S = 60, 100.0
# Between two deeds: a stalled client stays so for about as many of them as there are clients.
DEED_EVERY_S = 0.05
# Small, so that a client that stalls for seconds is cut.
BUFFER_FRAMES = 20
TEXT = "x" * 20_000
AT_REST_WITHIN_S = 90.0
SEEN_ALL_WITHIN_S = 120.0
SAMPLE_EVERY_S = 0.5
TELL_EVERY_S = 15.0
# What may come between the second and the fourth quarter of the time without anything being kept: in
# the first three minutes caches and pools fill up.
FLAT_MIB, FLAT_AT_FIRST_MIB, AT_FIRST_S = 5.0, 32.0, 500.0
SEED = 13


class NotFlat(AssertionError):
    """Memory grew for as long as the churn lasted."""


@dataclass(slots=True)
class Holdings:
    """What an edge without streams holds."""

    here: Mapping[str, int]
    descriptors: int

    @property
    def is_at_rest(self) -> bool:
        return not any(self.here[name] for name in ("connections", "leaving", "users", "feeds"))

    def is_within(self, other: Holdings) -> bool:
        return self.here["tasks"] <= other.here["tasks"] and self.descriptors <= other.descriptors


@dataclass(slots=True)
class Report:
    """What a soak has done and seen."""

    seconds: float = 0.0
    deeds: Counter[str] = field(default_factory=Counter)
    closings: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    deliveries: int = 0
    memory_mib: list[float] = field(default_factory=list)
    before: Holdings | None = None
    after: Holdings | None = None

    def quarter_mib(self, number: int) -> float:
        """The median of the resident memory in one quarter of the time."""
        length = len(self.memory_mib) // 4
        return statistics.median(self.memory_mib[number * length : (number + 1) * length])

    def check_flat(self) -> None:
        grown = self.quarter_mib(3) - self.quarter_mib(1)
        if grown > (FLAT_MIB if self.seconds > AT_FIRST_S else FLAT_AT_FIRST_MIB):
            raise NotFlat(f"memory grew by {grown:.1f} MiB from the second to the fourth quarter: {self.memory_mib}")


class Churn:
    """Does to clients at random what happens to clients."""

    def __init__(self, crowd: Crowd, edge: Service, http: httpx.AsyncClient, deeds: Counter[str]) -> None:
        self._crowd, self._edge, self._http, self._done = crowd, edge, http, deeds
        self._random = random.Random(SEED)
        self._deeds: list[tuple[str, int, Callable[[Client], Awaitable[None]]]] = [
            ("stall", 30, self._stall),
            ("go on", 15, self._go_on),
            ("drop", 20, self._drop),
            ("resume", 25, self._resume),
            ("revoke", 5, self._revoke),
            ("ticket", 5, self._ticket),
        ]

    @property
    def has_done_all(self) -> bool:
        """Whether each deed was done."""
        return self._done.keys() == {name for name, _, _ in self._deeds}

    async def each(self) -> None:
        """Every deed once."""
        for client, (_, _, deed) in zip(self._crowd.all, self._deeds, strict=False):
            await deed(client)

    async def for_(self, seconds: float) -> None:
        """Returns after so long, with the crowd in whatever state it is then."""
        end_at = time.monotonic() + seconds
        names, weights, _ = zip(*self._deeds, strict=True)
        deeds = {name: deed for name, _, deed in self._deeds}
        while time.monotonic() < end_at:
            [name] = self._random.choices(names, weights)
            await deeds[name](self._random.choice(self._crowd.all))
            self._done[name] += 1
            await asyncio.sleep(DEED_EVERY_S * self._random.uniform(0.5, 1.5))

    async def end(self) -> None:
        """Everybody reads, and is connected."""
        for client in self._crowd.all:
            client.go_on()
        # What the kernel still has of a stream that was ended comes first.
        await self._crowd.until(self._all_connected, AT_REST_WITHIN_S, "connected after the churn")

    def _all_connected(self) -> bool:
        for client in self._crowd.all:
            if client.is_away:
                self._come(client)
        return all(client.is_connected for client in self._crowd.all)

    def _come(self, client: Client) -> None:
        """As a page does that was told that its session has ended: sign in, and open again."""
        self._crowd.sign_in(client)
        self._crowd.start(client)

    async def _stall(self, client: Client) -> None:
        if client.is_connected:
            client.stall()

    async def _go_on(self, client: Client) -> None:
        client.go_on()

    async def _drop(self, client: Client) -> None:
        client.drop()

    async def _resume(self, client: Client) -> None:
        if client.is_away:
            self._come(client)

    async def _revoke(self, client: Client) -> None:
        headers = {"Cookie": client.cookie}
        answer = await available(lambda: self._http.delete(f"{self._edge.url}/v1/session", headers=headers))
        assert answer.status_code == httpx.codes.NO_CONTENT, answer.text

    async def _ticket(self, client: Client) -> None:
        """A new stream by ticket, in place of the one there was."""
        self._crowd.sign_in(client)
        headers = {"Cookie": client.cookie}
        answer = await available(lambda: self._http.post(f"{self._edge.url}/v1/tickets", headers=headers))
        assert answer.status_code == httpx.codes.OK, answer.text
        client.drop()
        client.ticket = answer.json()["ticket"]


async def soak(platform: FourServices, seconds: float, tell: Callable[[str], None]) -> Report:
    """Raises what was not as it was before, or which promise was broken."""
    [edge] = platform.edges
    report = Report()
    audiences = Audiences(USERS)
    # Pools and caches fill up under the first crowd, and stay.
    await _one_crowd(platform, audiences.users)
    report.before = await at_rest(platform)
    async with (
        platform.publisher() as publisher,
        crowd_of(platform) as crowd,
        httpx.AsyncClient(trust_env=False, timeout=AT_REST_WITHIN_S) as http,
    ):
        await crowd.open(audiences.users)
        churn = Churn(crowd, edge, http, report.deeds)
        began = time.monotonic()
        async with publisher.load(RATE_PER_S, _Large(audiences)), _watched(edge, report, tell):
            await churn.for_(seconds)
            # On a slow machine it takes longer until everything has happened, and until what a client leaves unread
            # fills the kernel's buffers.
            while not _has_seen_all(crowd, churn) and time.monotonic() < began + seconds + SEEN_ALL_WITHIN_S:
                await churn.for_(1.0)
        report.seconds = time.monotonic() - began
        await churn.end()
        await keeps_its_promises(platform, publisher, crowd)
        report.closings = Counter(closing.reason for client in crowd.all for closing in client.closings)
        report.streams = sum(client.connections for client in crowd.all)
        report.deliveries = sum(len(client.ids) for client in crowd.all)
    report.after = await at_rest(platform, report.before)
    await nothing_is_bound(platform)
    report.check_flat()
    return report


def _has_seen_all(crowd: Crowd, churn: Churn) -> bool:
    """Whether everything was done, and clients were told every reason: one that is dropped hears of none."""
    told = {closing.reason for client in crowd.all for closing in client.closings}
    return churn.has_done_all and told >= {"slow-reader", "session-revoked"}


class _Large(Audiences):
    """The same mix with a text that fills the buffers of a client that stalls."""

    def __init__(self, mix: Audiences) -> None:
        super().__init__(len(mix.users))

    def next_event(self) -> dict[str, object]:
        return super().next_event() | {"data": TEXT}


async def _one_crowd(platform: FourServices, users: list[str]) -> None:
    async with crowd_of(platform) as crowd, httpx.AsyncClient(trust_env=False, timeout=AT_REST_WITHIN_S) as http:
        await crowd.open(users)
        churn = Churn(crowd, platform.edges[0], http, Counter())
        await churn.each()
        for client in crowd.all:
            client.drop()
        await churn.end()


@asynccontextmanager
async def _watched(edge: Service, report: Report, tell: Callable[[str], None]) -> AsyncIterator[None]:
    async def watch() -> None:
        began = told_at = time.monotonic()
        while True:
            report.memory_mib.append(resident_mib(edge))
            if time.monotonic() - told_at > TELL_EVERY_S:
                told_at = time.monotonic()
                tell(f"{told_at - began:.0f} s: {report.memory_mib[-1]:.1f} MiB, {await counts(edge)}")
            await asyncio.sleep(SAMPLE_EVERY_S)

    watching = asyncio.create_task(watch(), name="watch")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def at_rest(platform: FourServices, as_before: Holdings | None = None) -> Holdings:
    """What it holds once no stream is open; with `as_before`, once that is no more than then."""
    [edge] = platform.edges
    mongodb_port = urlsplit(platform.settings.mongo_url.get_secret_value()).port or 0
    seen: list[Holdings] = []

    async def look() -> Holdings:
        now = Holdings(await counts(edge), descriptors(edge, except_to=mongodb_port))
        seen.append(now)
        assert now.is_at_rest
        assert as_before is None or now.is_within(as_before)
        return now

    try:
        return await answered(look, AssertionError, within_s=AT_REST_WITHIN_S)
    except TimeoutError:
        raise AssertionError(f"before {as_before}, and {AT_REST_WITHIN_S:g} s after the churn {seen[-1]}") from None


async def nothing_is_bound(platform: FourServices) -> None:
    """Takes the exchange of deliveries away, which the broker refuses while a single queue is bound to it.

    Every feed's queue is bound to it for its progress, so this counts queues as well.
    """
    settings = platform.settings
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        channel = await connection.channel()
        await channel.exchange_delete(Topology(settings.namespace).deliveries, if_unused=True)


async def main(minutes: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="carillon-soak-"))
    with running(RabbitServer) as rabbitmq, running(MongoServer) as mongodb:
        async with soaked(folder, rabbitmq, mongodb) as platform:
            report = await soak(platform, minutes * 60, lambda line: print(line, flush=True))
    memory = ", ".join(f"{report.quarter_mib(number):.1f}" for number in range(4))
    print(f"{report.seconds:.0f} s, {report.streams} streams, {report.deliveries} deliveries, every promise kept")
    print(f"deeds {dict(report.deeds)}\nclosings {dict(report.closings)}\nmemory by quarter {memory} MiB")
    print(f"before {report.before}\nafter  {report.after}")


@asynccontextmanager
async def soaked(folder: Path, rabbitmq: RabbitServer, mongodb: MongoServer) -> AsyncIterator[FourServices]:
    """A platform with one edge that cuts early and lets operators look in."""
    async with four_services(
        folder, rabbitmq.url, mongodb.url, operator_keys=OPERATOR_KEYS, buffer_max_frames=BUFFER_FRAMES
    ) as platform:
        yield platform


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="One edge under churn.")
    options.add_argument("--minutes", type=float, default=10.0)
    asyncio.run(main(options.parse_args(sys.argv[1:]).minutes))
