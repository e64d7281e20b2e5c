"""What ingest remembers of what it published: bounded, whatever overtakes what."""

from __future__ import annotations

import pytest

from services.ingest import recent
from services.ingest.recent import Recent
from shared.model.event import Event

BODY = b"x" * 100


def an_event(id_: str) -> Event:
    return Event.from_attributes({"specversion": "1.0", "id": id_, "source": "/shop", "type": "order.created"})


class Shop:
    """Publishes events by their ids, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.recent = Recent[str](lambda: self.now)

    def begin(self, id_: str) -> recent.Published[str]:
        return self.recent.begin(("/shop", id_), an_event(id_))

    def confirm(self, id_: str, published: recent.Published[str]) -> None:
        self.recent.confirm(("/shop", id_), published, id_, BODY)

    def publish(self, *ids: str) -> None:
        for id_ in ids:
            self.confirm(id_, self.begin(id_))

    def known(self, *ids: str) -> list[str]:
        return [id_ for id_ in ids if self.recent.get(("/shop", id_))]


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 3 * len(BODY))
    shop = Shop()
    shop.publish("1", "2", "3", "4")
    assert shop.known("1", "2", "3", "4") == ["2", "3", "4"]


def test_one_that_is_overtaken_by_too_many_counts_for_nothing_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes once stayed counted when it was long gone; in the end no room was left, and each publish failed."""
    monkeypatch.setattr(recent, "MAX_EVENTS", 2)
    monkeypatch.setattr(recent, "MAX_BYTES", 3 * len(BODY))
    shop = Shop()
    for number in range(5):
        slow = shop.begin(f"slow {number}")
        shop.publish("1", "2", "3")
        shop.confirm(f"slow {number}", slow)
    shop.publish("4", "5")
    assert shop.known("4", "5") == ["4", "5"]


def test_a_try_that_takes_too_long_counts_for_nothing_once_another_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 3 * len(BODY))
    shop = Shop()
    for _ in range(5):
        hanging = shop.begin("1")
        shop.now += recent.KEPT_S + 1
        assert shop.known("1") == []
        shop.publish("1")
        shop.confirm("1", hanging)
    shop.publish("2", "3")
    assert shop.known("1", "2", "3") == ["1", "2", "3"]
