"""Feeds: entries to whoever in this process holds one of their tags."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable

OnEntry = Callable[[Entry], None]
OnLost = Callable[[str], None]
OnProgress = Callable[[int], None]

_log = logging.getLogger(__name__)


class MemoryFeed:
    """`shared.ports.broker.Feed`: a place in the routing table, and no queue, for `on_entry` never waits."""

    def __init__(self, routes: Routes, on_entry: OnEntry, on_lost: OnLost, on_progress: OnProgress | None) -> None:
        self._routes = routes
        self._on_entry = on_entry
        self._on_lost = on_lost
        self._on_progress = on_progress
        self._tags: set[str] = set()
        self._ended = False

    async def bind(self, tags: Collection[str]) -> None:
        if self._ended:
            raise BrokerUnavailable("this feed has ended: open another")
        self._tags.update(tags)
        self._routes.add(self, tags)

    async def unbind(self, tags: Collection[str]) -> None:
        if self._ended:
            raise BrokerUnavailable("this feed has ended: open another")
        self._tags.difference_update(tags)
        self._routes.remove(self, tags)

    async def close(self) -> None:
        self._end()

    def receive(self, entry: Entry) -> None:
        """Passes the entry on; a receiver that fails has missed it, so its feed is lost."""
        if self._ended:
            return
        try:
            self._on_entry(entry)
        except Exception as error:
            _log.exception("a feed's receiver failed", extra={"position": entry.position})
            self.lose(f"its receiver failed: {error!r}")

    def progressed(self, position: int) -> None:
        """Passes on how far the dispatch is."""
        if not self._ended and self._on_progress is not None:
            self._on_progress(position)

    def lose(self, reason: str) -> None:
        """Ends the feed from our side, telling its owner once."""
        if not self._ended:
            self._end()
            self._on_lost(reason)

    def _end(self) -> None:
        self._ended = True
        self._routes.forget(self, self._tags)
        self._tags.clear()


class Routes:
    """Which feeds hold which tag."""

    def __init__(self) -> None:
        self._by_tag: dict[str, dict[MemoryFeed, None]] = {}
        self._open: dict[MemoryFeed, None] = {}

    def open(self, on_entry: OnEntry, on_lost: OnLost, on_progress: OnProgress | None) -> MemoryFeed:
        feed = MemoryFeed(self, on_entry, on_lost, on_progress)
        self._open[feed] = None
        return feed

    def add(self, feed: MemoryFeed, tags: Iterable[str]) -> None:
        for tag in tags:
            self._by_tag.setdefault(tag, {})[feed] = None

    def remove(self, feed: MemoryFeed, tags: Iterable[str]) -> None:
        for tag in tags:
            bound = self._by_tag.get(tag, {})
            bound.pop(feed, None)
            if not bound:
                self._by_tag.pop(tag, None)

    def forget(self, feed: MemoryFeed, tags: Iterable[str]) -> None:
        self.remove(feed, tags)
        self._open.pop(feed, None)

    def deliver(self, entries: Sequence[Entry]) -> set[int]:
        """Hands each entry once to each feed that holds one of its tags; returns the positions that none held."""
        unheard: set[int] = set()
        for entry in entries:
            feeds = self._bound_to(entry.audience)
            for feed in feeds:
                feed.receive(entry)
            if not feeds:
                unheard.add(entry.position)
        return unheard

    def tell_progress(self, position: int) -> None:
        for feed in list(self._open):
            feed.progressed(position)

    def lose_all(self, reason: str) -> None:
        for feed in list(self._open):
            feed.lose(reason)

    def _bound_to(self, audience: Sequence[str]) -> list[MemoryFeed]:
        """A copy: a receiver may bind or close feeds while it is called."""
        found = [feeds for tag in audience if (feeds := self._by_tag.get(tag))]
        if len(found) == 1:
            return list(found[0])
        return list({feed: None for feeds in found for feed in feeds})
