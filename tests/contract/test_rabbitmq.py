"""The broker on a real RabbitMQ: the common promises, and what only this adapter can get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from infra.local.servers import RabbitServer
from shared.conformance.broker import BROKER_CHECKS, BrokerCheck
from shared.conformance.rpc import RPC_CHECKS
from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable
from shared.model.settings import Settings
from shared.ports.broker import DeadLetter
from shared.rabbit.broker import RabbitBroker, open_broker
from shared.rabbit.link import BACKOFF_S
from shared.rabbit.messages import MAX_HEADER_TAG_BYTES, entry_messages
from shared.rabbit.topology import Topology
from tests.contract.bounded import TIMEOUT_S, bounded
from tests.contract.entries import entries, entry, event
from tests.contract.namespaces import PATIENT_S, namespace_on, raw_channel, settings_for
from tests.eventually import WITHIN_S, answered, eventually
from tests.faults.load import on_disk
from tests.proxy import Proxy, proxy_before

pytestmark = pytest.mark.servers


class RabbitStorage:
    """One namespace, whoever connects."""

    def __init__(self, url: str, namespace: str) -> None:
        self._settings = Settings.load(amqp_url=url, namespace=namespace, backend_timeout_s=PATIENT_S)

    def client(self) -> AbstractAsyncContextManager[RabbitBroker]:
        return open_broker(self._settings)


async def first_message(channel: AbstractChannel, queue: str) -> AbstractIncomingMessage:
    """By consuming: a queue with a single active consumer refuses to be asked."""
    found: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()

    async def take(message: AbstractIncomingMessage) -> None:
        found.set_result(message)

    await channel.set_qos(1)
    await (await channel.get_queue(queue)).consume(take)
    return await asyncio.wait_for(found, WITHIN_S)


@pytest.mark.parametrize("check", [*BROKER_CHECKS, *RPC_CHECKS], ids=lambda check: check.__name__)
async def test_promise(check: BrokerCheck, rabbitmq: RabbitServer) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[RabbitStorage]:
        async with namespace_on(rabbitmq.url) as namespace:
            yield RabbitStorage(rabbitmq.url, namespace)

    await check(make)


@pytest.fixture
async def namespace(rabbitmq: RabbitServer) -> AsyncIterator[str]:
    async with namespace_on(rabbitmq.url) as namespace:
        yield namespace


@pytest.fixture
async def broker(rabbitmq: RabbitServer, namespace: str) -> AsyncIterator[RabbitBroker]:
    async with open_broker(settings_for(rabbitmq.url, namespace)) as broker:
        yield broker


@pytest.fixture
async def behind(rabbitmq: RabbitServer, namespace: str) -> AsyncIterator[tuple[RabbitBroker, Proxy]]:
    """The broker as seen through a network that breaks."""
    async with (
        proxy_before(rabbitmq.port) as proxy,
        open_broker(settings_for(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", namespace)) as broker,
    ):
        yield broker, proxy


@pytest.fixture
async def hasty_behind(rabbitmq: RabbitServer, namespace: str) -> AsyncIterator[tuple[RabbitBroker, Proxy]]:
    """The same for one that soon gives up: for what must be waited for until then."""
    async with (
        proxy_before(rabbitmq.port) as proxy,
        open_broker(settings_for(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", namespace, TIMEOUT_S)) as broker,
    ):
        yield broker, proxy


class Reader:
    """One feed and what became of it."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.lost: list[str] = []

    def take(self, entry: Entry) -> None:
        self.positions.append(entry.position)

    async def follow(self, broker: RabbitBroker, *tags: str) -> None:
        feed = await broker.open_feed(self.take, self.lost.append)
        await feed.bind(tags)


async def test_the_topology_is_there_after_the_first_call(
    broker: RabbitBroker, rabbitmq: RabbitServer, namespace: str
) -> None:
    await broker.ping()
    await broker.ping()
    topology = Topology(namespace)
    async with raw_channel(rabbitmq.url) as channel:
        # The broker refuses a declaration whose arguments differ from what is there.
        await channel.declare_queue(
            f"{namespace}.log",
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-single-active-consumer": True,
                "x-delivery-limit": 1000,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": f"{namespace}.dead",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )
        await channel.declare_queue(topology.dead, durable=True, arguments=topology.dead_arguments())
        await channel.declare_queue(topology.rpc, durable=True, arguments=topology.rpc_arguments())
        await channel.declare_exchange(f"{namespace}.events", "topic", durable=True)
        await channel.declare_exchange(f"{namespace}.deliveries", "direct", durable=True)


async def test_an_event_is_a_structured_cloudevent_for_any_client(
    broker: RabbitBroker, rabbitmq: RabbitServer, namespace: str
) -> None:
    sent = event("1", type="order.paid", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    await broker.publish(sent)
    async with raw_channel(rabbitmq.url) as channel:
        message = await first_message(channel, f"{namespace}.log")
        assert (message.content_type, message.message_id) == ("application/cloudevents+json", "1")
        assert (message.routing_key, message.delivery_mode) == ("order.paid", aio_pika.DeliveryMode.PERSISTENT)
        assert message.headers["traceparent"] == sent.traceparent
        assert message.body == sent.to_json()
        await message.ack()


async def test_what_the_broker_itself_gives_up_is_a_dead_letter(
    broker: RabbitBroker, rabbitmq: RabbitServer, namespace: str
) -> None:
    await broker.publish(event("1"))
    async with raw_channel(rabbitmq.url) as channel:
        message = await first_message(channel, f"{namespace}.log")
        await message.reject(requeue=False)

    async def dead() -> DeadLetter:
        (letter,) = await broker.dead_letters(10)
        return letter

    letter = await answered(dead, ValueError)
    assert (letter.reason, letter.body) == ("rejected", event("1").to_json())


async def test_dead_letters_keep_their_place_however_often_they_are_read(broker: RabbitBroker) -> None:
    letters = [DeadLetter(str(n).encode(), "invalid-event", "no", {"id": str(n)}) for n in range(30)]
    for letter in letters:
        await broker.park(letter)
    for limit in (10, 30, 1, 100, 30):
        assert list(await broker.dead_letters(limit)) == letters[:limit]


async def test_headers_of_a_dead_letter_are_bounded(broker: RabbitBroker) -> None:
    attributes = {f"{n}-" + "k" * 300: "v" * 100_000 for n in range(500)} | {"lone": "\ud800"}
    await broker.park(DeadLetter(b"\xff" * 500_000, "r" * 100_000, "d" * 1_000_000, attributes))
    (letter,) = await broker.dead_letters(1)
    assert letter.body == b"\xff" * 500_000
    assert len(letter.detail) < 5000


def test_copies_of_an_entry_fit_their_frame_and_reach_each_tag_once() -> None:
    audience = tuple(f"user:{n:04}-{'x' * 180}" for n in range(2000))
    copies = list(entry_messages(entry(1, audience=audience)))
    routed = [tag for copy in copies for tag in [copy.routing_key, *as_list((copy.properties.headers or {})["BCC"])]]
    assert len(copies) > 10
    assert tuple(routed) == audience
    for copy in copies:
        assert len(copy.properties.marshal()) < 3 * MAX_HEADER_TAG_BYTES < 131_072


def as_list(value: Any) -> list[str]:
    return list(value)


async def test_one_id_twice_at_once_is_two_events(broker: RabbitBroker) -> None:
    """The driver confuses the returns of equal ids; equal ids of two sources are nothing unusual."""
    await asyncio.gather(*(broker.publish(event("1", source=f"/{n}")) for n in range(20)))
    async with broker.intake(100) as intake:
        found = await intake.batch(20, WITHIN_S)
        assert len(found) == 20


async def test_a_publish_that_no_queue_takes_is_refused(
    broker: RabbitBroker, rabbitmq: RabbitServer, namespace: str
) -> None:
    await broker.publish(event("1"))
    async with raw_channel(rabbitmq.url) as channel:
        await channel.queue_delete(f"{namespace}.log")
    outcomes = await asyncio.gather(*(broker.publish(event("2")) for _ in range(2)), return_exceptions=True)
    assert all(isinstance(outcome, BrokerUnavailable) for outcome in outcomes[:1])
    await answered(lambda: broker.publish(event("3")), BrokerUnavailable)
    async with broker.intake(10) as intake:
        arrived: list[bytes] = []
        while not any(b'"3"' in body for body in arrived):
            arrived += [arrival.body for arrival in await intake.batch(10, 0.2)]


async def test_an_intake_whose_queue_is_deleted_says_so(
    broker: RabbitBroker, rabbitmq: RabbitServer, namespace: str
) -> None:
    async with broker.intake(10) as intake:
        waiting = asyncio.create_task(intake.batch(1, 1))
        async with raw_channel(rabbitmq.url) as channel:
            await channel.queue_delete(f"{namespace}.log")
        with pytest.raises(BrokerUnavailable, match="cancelled"):
            await asyncio.wait_for(waiting, WITHIN_S)


async def test_feeds_are_lost_once_when_the_connection_drops(behind: tuple[RabbitBroker, Proxy]) -> None:
    broker, proxy = behind
    readers = [Reader() for _ in range(20)]
    for number, reader in enumerate(readers):
        await reader.follow(broker, f"user:{number}", "everyone")
    await broker.deliver([entry(1, audience=("everyone",))])
    await eventually(lambda: all(reader.positions == [1] for reader in readers))
    proxy.cut()
    await eventually(lambda: all(len(reader.lost) == 1 for reader in readers))
    again = Reader()
    await answered(lambda: again.follow(broker, "everyone"), BrokerUnavailable)
    await answered(lambda: broker.deliver([entry(2, audience=("everyone",))]), BrokerUnavailable)
    await eventually(lambda: again.positions[:1] == [2])
    assert all(reader.positions == [1] and len(reader.lost) == 1 for reader in readers)


async def test_an_intake_ends_when_the_connection_drops(behind: tuple[RabbitBroker, Proxy]) -> None:
    broker, proxy = behind
    await broker.publish(event("1"))
    async with broker.intake(10) as intake:
        (arrival,) = await intake.batch(1, 1)
        proxy.cut()
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(intake.batch(1, 1), WITHIN_S)
        with pytest.raises(BrokerUnavailable):
            await intake.ack(arrival)

    async def redelivered() -> bool:
        async with broker.intake(10) as intake:
            return (await intake.batch(1, 1))[0].redelivered

    assert await answered(redelivered, BrokerUnavailable)


async def test_a_caller_that_goes_away_ends_nobody_elses_feed(broker: RabbitBroker) -> None:
    """The driver closes a channel whose command is cancelled, and feeds share channels."""
    staying = Reader()
    await staying.follow(broker, "everyone")
    for step in range(30):
        leaving = asyncio.create_task(Reader().follow(broker, "everyone", "user:a", "user:b"))
        for _ in range(step):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
    await broker.deliver([entry(1, audience=("everyone",))])
    await eventually(lambda: staying.positions == [1])
    assert staying.lost == []


async def test_an_entry_that_is_not_taken_is_a_lost_feed(broker: RabbitBroker) -> None:
    lost: list[str] = []

    def refuse(entry: Entry) -> None:
        raise ValueError("no")

    feed = await broker.open_feed(refuse, lost.append)
    await feed.bind(["everyone"])
    await broker.deliver([entry(n, audience=("everyone",)) for n in range(1, 4)])
    await eventually(lambda: lost)
    assert len(lost) == 1
    with pytest.raises(BrokerUnavailable):
        await feed.bind(["user:a"])


async def test_repeats_after_a_broken_delivery_leave_no_hole(
    behind: tuple[RabbitBroker, Proxy], rabbitmq: RabbitServer, namespace: str
) -> None:
    """A feed that took 10 before 9 would later take 9 for a repeat, and lose it."""
    broker, proxy = behind
    sent = entries(1, 3000, audience=("everyone",))
    reader = Reader()
    async with open_broker(settings_for(rabbitmq.url, namespace)) as untouched:
        await reader.follow(untouched, "everyone")
        for pause_s in (0.02, 0.05, 0.1, 0.15):
            delivering = asyncio.create_task(broker.deliver(sent))
            await asyncio.sleep(pause_s)
            if pause_s == 0.1:
                delivering.cancel()
            proxy.cut()
            await asyncio.wait([delivering])
            if not delivering.cancelled():
                delivering.exception()
        await answered(lambda: broker.deliver(sent), BrokerUnavailable)
        await eventually(lambda: reader.positions and reader.positions[-1] == 3000)
    highest = 0
    for position in reader.positions:
        assert position <= highest + 1, f"{position} came right after {highest}"
        highest = max(highest, position)


CALLS: dict[str, Callable[[RabbitBroker], Awaitable[object]]] = {
    "publish": lambda broker: broker.publish(event("1")),
    "publish_raw": lambda broker: broker.publish_raw(b"", "text/plain"),
    "park": lambda broker: broker.park(DeadLetter(b"", "r", "d")),
    "deliver": lambda broker: broker.deliver(entries(1, 3)),
    "dead_letters": lambda broker: broker.dead_letters(1),
    "open_feed": lambda broker: broker.open_feed(lambda _: None, lambda _: None),
    "intake": lambda broker: broker.intake(1).__aenter__(),
    "call": lambda broker: broker.call(b"", TIMEOUT_S),
    "ping": lambda broker: broker.ping(),
}


async def warmed_up(broker: RabbitBroker, *calls: str) -> None:
    """Makes these calls until each has succeeded: connections and channels are open then."""
    for call in calls:
        await answered(lambda call=call: CALLS[call](broker), BrokerUnavailable)


@pytest.mark.parametrize("call", ["publish", "deliver", "intake", "dead_letters", "open_feed", "ping"])
async def test_a_silent_network_is_an_outage_in_bounded_time(
    hasty_behind: tuple[RabbitBroker, Proxy], call: str
) -> None:
    broker, proxy = hasty_behind
    await warmed_up(broker, "deliver", "ping", "open_feed")
    proxy.freeze()
    with bounded(), pytest.raises(BrokerUnavailable):
        await CALLS[call](broker)
    with bounded(), pytest.raises(BrokerUnavailable):
        await CALLS[call](broker)
    proxy.go_on()
    await answered(lambda: CALLS[call](broker), BrokerUnavailable)


@pytest.mark.parametrize("call", ["publish", "deliver", "open_feed", "dead_letters", "ping"])
async def test_a_half_open_connection_is_replaced_before_heartbeats_notice(
    hasty_behind: tuple[RabbitBroker, Proxy], call: str
) -> None:
    broker, proxy = hasty_behind
    await warmed_up(broker, "deliver", "ping", "open_feed", call)
    proxy.forget()
    with bounded():
        await answered(lambda: CALLS[call](broker), BrokerUnavailable)


@pytest.mark.parametrize("call", CALLS)
async def test_without_a_broker_every_call_says_so_in_bounded_time(call: str) -> None:
    async with open_broker(settings_for("amqp://guest:guest@127.0.0.1:9/", "none", TIMEOUT_S)) as broker:
        for _ in range(3):
            with bounded(), pytest.raises(BrokerUnavailable):
                await CALLS[call](broker)


async def test_a_dead_broker_is_not_hammered(rabbitmq: RabbitServer) -> None:
    async with proxy_before(rabbitmq.port) as proxy:
        proxy.accepts = False
        async with open_broker(settings_for(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", "none")) as broker:
            clock = asyncio.get_running_loop().time
            began = clock()
            while proxy.attempts < 4:
                with pytest.raises(BrokerUnavailable):
                    await broker.ping()
                await asyncio.sleep(0.001)
            assert clock() - began > 3 * BACKOFF_S, "each waits its time after the one before has failed"


async def test_a_stopped_broker_is_an_outage_and_comes_back_by_itself(
    broker: RabbitBroker, rabbitmq: RabbitServer, namespace: str
) -> None:
    topology, reader = Topology(namespace), Reader()
    await reader.follow(broker, "everyone")
    for number in range(5):
        await broker.publish(event(str(number)))
    await broker.park(DeadLetter(b"dead", "r", "d"))
    for queue in (topology.log, topology.dead, topology.rpc):
        await on_disk(rabbitmq, queue)
    rabbitmq.kill()
    try:
        await eventually(lambda: reader.lost)
        for call in CALLS.values():
            with bounded(), pytest.raises(BrokerUnavailable):
                await call(broker)
    finally:
        await asyncio.to_thread(rabbitmq.start)
    await answered(broker.ping, BrokerUnavailable)
    await answered(lambda: broker.publish(event("5")), BrokerUnavailable)
    letters = await answered(lambda: broker.dead_letters(5), BrokerUnavailable)
    assert [letter.body for letter in letters] == [b"dead"]
    async with broker.intake(10) as intake:
        found = await intake.batch(6, WITHIN_S)
        assert [arrival.body for arrival in found] == [event(str(number)).to_json() for number in range(6)]
        await intake.ack(found[-1])


async def test_a_namespace_of_another_shape_is_an_outage_that_says_so(rabbitmq: RabbitServer, namespace: str) -> None:
    async with raw_channel(rabbitmq.url) as channel:
        await channel.declare_queue(f"{namespace}.log", durable=True)
    async with open_broker(settings_for(rabbitmq.url, namespace)) as broker:
        with pytest.raises(BrokerUnavailable, match="inequivalent arg"):
            await broker.ping()
