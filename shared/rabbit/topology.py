"""Exchanges and queues: their names in one namespace, and their declaration."""

from __future__ import annotations

from dataclasses import dataclass

from aiormq.abc import AbstractChannel, ArgumentsType

# Every return of an unacknowledged event counts, also those of a persister that restarts every few
# seconds through a night without MongoDB. A limit of 3 once dropped 20 healthy events after four
# crashes; the persister parks poison itself, so this only stops an event that kills it every time.
LOG_DELIVERY_LIMIT = 1000
# Looking at dead letters counts as delivering them. RabbitMQ 4 would drop them after 20 looks unless
# told otherwise, and without any limit 3.x would put them back at the end.
DEAD_DELIVERY_LIMIT = 1_000_000_000
# Requests are set aside by their server long before (see rpc.py); this stops what it never gets to see.
RPC_DELIVERY_LIMIT = 100
# Requests that wait while nobody serves. Over it publishing one is refused, which its sender hears of.
RPC_MAX_WAITING = 10_000
RPC_MAX_WAITING_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topology:
    """The names in one namespace, so that several Carillons may share a broker."""

    namespace: str

    @property
    def events(self) -> str:
        """The topic exchange that producers publish to, routing by type."""
        return f"{self.namespace}.events"

    @property
    def log(self) -> str:
        """The queue of all events, for the persister."""
        return f"{self.namespace}.log"

    @property
    def dead(self) -> str:
        """The queue of what could not be appended."""
        return f"{self.namespace}.dead"

    @property
    def dead_turn(self) -> str:
        """Who has declared it, an exclusive queue, has the dead letters in hand."""
        return f"{self.namespace}.dead.turn"

    @property
    def rpc(self) -> str:
        """The queue of requests, and an exchange before it that one may grant alone."""
        return f"{self.namespace}.rpc"

    @property
    def deliveries(self) -> str:
        """The direct exchange that feeds bind to, routing by tag."""
        return f"{self.namespace}.deliveries"

    async def declare(self, channel: AbstractChannel) -> None:
        """Creates what is missing. Raises the driver's error where something of that name differs."""
        await channel.exchange_declare(self.events, exchange_type="topic", durable=True)
        await channel.exchange_declare(self.deliveries, exchange_type="direct", durable=True)
        await channel.queue_declare(self.dead, durable=True, arguments=self.dead_arguments())
        await channel.queue_declare(self.log, durable=True, arguments=self.log_arguments())
        await channel.queue_bind(self.log, self.events, "#")
        await channel.exchange_declare(self.rpc, exchange_type="fanout", durable=True)
        await channel.queue_declare(self.rpc, durable=True, arguments=self.rpc_arguments())
        await channel.queue_bind(self.rpc, self.rpc)

    def log_arguments(self) -> ArgumentsType:
        """Quorum, because a classic queue confirms before it has written to disk."""
        return {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": LOG_DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            # Without these two an event may vanish on its way to the dead letters.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    def dead_arguments(self) -> ArgumentsType:
        """Quorum as the log: these events were accepted, too."""
        return {"x-queue-type": "quorum", "x-delivery-limit": DEAD_DELIVERY_LIMIT}

    def rpc_arguments(self) -> ArgumentsType:
        """Quorum, so that a request whose publish was confirmed is carried out, whatever dies."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": RPC_DELIVERY_LIMIT,
            "x-max-length": RPC_MAX_WAITING,
            "x-max-length-bytes": RPC_MAX_WAITING_BYTES,
            "x-overflow": "reject-publish",
        }
