"""Presence: what is listed, told as events, and made good after a lease that ran out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.edge import control
from services.edge.connection import Connection
from services.edge.presence import MAX_TOLD_BEHIND, TOLD_AT_ONCE, Presence, places_of
from services.edge.sessions import Session
from shared.model.errors import LogUnavailable
from shared.model.event import Event
from shared.ports.broker import Broker
from shared.ports.sessions import ConnectionRecord, Places, SessionStore


@dataclass
class Backends:
    """A store and a broker as data, that may be away."""

    term: str = "first"
    is_away: bool = False
    is_mute: bool = False
    calls: int = 0
    listed: dict[str, ConnectionRecord] = field(default_factory=dict)
    orphans: list[ConnectionRecord] = field(default_factory=list)
    published: list[Event] = field(default_factory=list)

    places: list[Places | None] = field(default_factory=list)

    async def renew(self, edge: str, lease_s: float, places: Places | None = None) -> str:
        if self.is_away:
            raise LogUnavailable("away")
        self.places.append(places)
        return self.term

    async def opened(self, connections: Collection[ConnectionRecord]) -> None:
        self.listed |= {record.id: record for record in connections}
        if self.is_mute:
            raise LogUnavailable("it took them, and did not answer")

    async def closed(self, ids: Collection[str]) -> None:
        for id_ in ids:
            self.listed.pop(id_, None)

    async def take_orphans(self, limit: int) -> Sequence[ConnectionRecord]:
        taken, self.orphans = self.orphans, []
        return taken

    async def publish(self, *events: Event) -> None:
        self.calls += 1
        self.published += events

    def told(self) -> list[tuple[str, Any, Any]]:
        return [(event.type, event.data["connection"], event.data.get("reason")) for event in self.published]


class Open:
    """As much of a connection as presence looks at."""

    def __init__(self, id_: str) -> None:
        self.position = 7
        self.id, self.address, self.closed_because = id_, "127.0.0.1", "gone"
        self.session = Session("alice", "sid", (), 0.0, 2**31, 2**31)
        self.opened_at = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def connection(id_: str) -> Connection:
    return cast(Connection, Open(id_))


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def presence(backends: Backends) -> Presence:
    return Presence(cast(SessionStore, backends), cast(Broker, backends), tell=True)


async def test_opened_and_closed_are_listed_and_told(presence: Presence, backends: Backends) -> None:
    one, two = connection("one"), connection("two")
    presence.opened(one)
    presence.opened(two)
    await presence.flush()
    assert set(backends.listed) == {"one", "two"}
    presence.closed(one)
    await presence.flush()
    assert set(backends.listed) == {"two"}
    assert backends.told() == [
        (control.OPENED, "one", None),
        (control.OPENED, "two", None),
        (control.CLOSED, "one", "gone"),
    ]


async def test_what_opened_and_closed_between_two_rounds_is_never_listed(
    presence: Presence, backends: Backends
) -> None:
    presence.opened(connection("one"))
    presence.closed(connection("one"))
    await presence.flush()
    assert backends.listed == {}
    assert len(backends.published) == 2


async def test_what_a_backend_did_not_take_waits_for_the_next_round(presence: Presence, backends: Backends) -> None:
    presence.opened(connection("one"))
    backends.is_away = True
    with pytest.raises(LogUnavailable):
        await presence.flush()
    backends.is_away = False
    await presence.flush()
    assert set(backends.listed) == {"one"}


async def test_what_was_listed_by_a_call_that_failed_is_taken_off_again(presence: Presence, backends: Backends) -> None:
    """It was listed as connected for as long as its edge lived: nobody knew that the call had taken effect."""
    gone = connection("gone")
    presence.opened(gone)
    backends.is_mute = True
    with pytest.raises(LogUnavailable):
        await presence.flush()
    presence.closed(gone)
    backends.is_mute = False
    await presence.flush()
    assert backends.listed == {}


async def test_a_drain_of_thousands_is_told_before_its_time_is_up(presence: Presence, backends: Backends) -> None:
    """One by one, each waiting for its confirm, all but a few hundred were never told."""
    for number in range(1000):
        presence.opened(connection(str(number)))
    await presence.say_goodbye()
    assert [event.data["connection"] for event in backends.published] == [str(number) for number in range(1000)]
    assert backends.calls == 1000 / TOLD_AT_ONCE


async def test_an_edge_that_was_taken_for_dead_lists_its_connections_again(
    presence: Presence, backends: Backends
) -> None:
    presence.opened(connection("stays"))
    presence.opened(connection("goes"))
    await presence.flush()
    backends.listed, backends.term = {}, "second"
    presence.closed(connection("goes"))
    await presence.flush()
    assert set(backends.listed) == {"stays"}


async def test_orphans_of_others_are_told_as_lost(presence: Presence, backends: Backends) -> None:
    backends.orphans = [ConnectionRecord("c", "other", "bob", "sid", datetime.now(UTC), "")]
    await presence.flush()
    assert backends.told() == [(control.CLOSED, "c", "edge-lost")]


async def test_nothing_is_told_unless_asked_for(backends: Backends) -> None:
    presence = Presence(cast(SessionStore, backends), cast(Broker, backends), tell=False)
    presence.opened(connection("one"))
    await presence.flush()
    assert set(backends.listed) == {"one"}
    assert backends.published == []


async def test_places_are_told_now_and_then_and_when_somebody_comes(presence: Presence, backends: Backends) -> None:
    presence.opened(connection("one"))
    for _ in range(2):
        await presence.flush()
    presence.opened(connection("two"))
    await presence.flush()
    assert backends.places == [Places(7), None, Places(7)]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], None),
        ([("new", None)], None),
        ([("a", 9), ("new", None)], Places(9)),
        ([("a", 9), ("b", 9), ("slow", 3)], Places(9, {"slow": 3})),
    ],
)
def test_places(told: list[tuple[str, int | None]], expected: Places | None) -> None:
    assert places_of(told) == expected


def test_of_too_many_behind_no_more_is_said_than_what_all_have() -> None:
    places = places_of((str(number), number) for number in range(MAX_TOLD_BEHIND + 10))
    assert places is not None
    assert len(places.behind) == MAX_TOLD_BEHIND
    assert all(places.of(str(number)) <= number for number in range(MAX_TOLD_BEHIND + 10))
    assert places.of("5") == 5
