"""Entries from the broker to the connections that may see them.

A scope is a set of connections that share one feed. With `user-queues` there is a scope for each
user, with `edge-queue` one for the whole process; nothing else differs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, Protocol

from services.edge.frames import EventFrame
from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable
from shared.ports.broker import Broker, Feed
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# How soon a lost feed is opened again; jittered, so that edges do not march in step.
REOPEN_S = 0.5
# Frames kept for other connections that are about to want the same: one entry to many user queues
# arrives once for each, within milliseconds.
SHARED_FRAMES = 256
TELL_LOST_EVERY_S = 5.0
# Bindings are taken away one by one, a round trip each: whoever joins waits for so many at most.
UNBIND_AT_ONCE = 20


class Listener(Protocol):
    """What the fan-out knows of a connection."""

    tags: frozenset[str]

    def deliver(self, entry: Entry, frame: EventFrame) -> None:
        """Takes one live entry; must not block."""

    def progressed(self, position: int) -> None:
        """Every entry at or below that concerns it has been delivered; must not block."""

    def bound(self) -> None:
        """From now on every entry dispatched to `tags` is delivered."""

    def interrupted(self) -> None:
        """Entries may have been missed, and none come until `bound`."""


class Scope:
    """Connections that share a feed, and the bindings that they need together."""

    def __init__(
        self, broker: Broker, encode: Callable[[Entry], EventFrame], spawn: Spawn, tell_lost: Callable[[str], None]
    ) -> None:
        self._broker, self._encode, self._spawn, self._tell_lost = broker, encode, spawn, tell_lost
        self._by_tag: dict[str, set[Listener]] = {}
        self._listeners: set[Listener] = set()
        self._feed: Feed | None = None
        self._to_bind: set[str] = set()
        self._to_unbind: set[str] = set()
        self._reconciling = asyncio.Lock()
        self._recovering = False
        self._tidying = False

    @property
    def is_empty(self) -> bool:
        return not self._listeners

    async def join(self, listener: Listener) -> None:
        """Returns once the listener is bound. Raises `BrokerUnavailable`, and the listener is out again."""
        self._add(listener)
        try:
            await self._reconcile()
        except BaseException:
            self.leave(listener)
            raise
        listener.bound()

    async def change(self, listener: Listener, tags: frozenset[str]) -> None:
        """Returns once the feed has these tags for the listener. Raises `BrokerUnavailable`; who has left stays out."""
        if listener not in self._listeners:
            return
        before, listener.tags = listener.tags, tags
        self._add(listener)
        self._let_go(listener, before - tags)
        await self._reconcile()

    def leave(self, listener: Listener) -> None:
        """Takes the listener out; its bindings go when nobody else needs them."""
        self._listeners.discard(listener)
        self._let_go(listener, listener.tags)

    def _let_go(self, listener: Listener, tags: frozenset[str]) -> None:
        for tag in tags:
            others = self._by_tag.get(tag)
            if others is None:
                continue
            others.discard(listener)
            if not others:
                del self._by_tag[tag]
                self._to_bind.discard(tag)
                self._to_unbind.add(tag)
        if not self._tidying:
            self._tidying = True
            self._spawn(self._tidy(), "edge-unbind")

    def _add(self, listener: Listener) -> None:
        self._listeners.add(listener)
        for tag in listener.tags:
            if tag not in self._by_tag:
                self._by_tag[tag] = set()
                if tag in self._to_unbind:
                    self._to_unbind.discard(tag)
                else:
                    self._to_bind.add(tag)
            self._by_tag[tag].add(listener)

    async def _reconcile(self) -> None:
        """Binds what the connections need, and lets some go that they do not. Joins that wait here share one go."""
        # In a task of its own: a client that goes away while it waits would break off what all others share.
        await asyncio.shield(self._spawn(self._reconcile_in_turn(), "edge-bind"))

    async def _reconcile_in_turn(self) -> None:
        async with self._reconciling:
            if not self._listeners:
                await self._close_feed()
                return
            if self._feed is None:
                self._to_bind, self._to_unbind = set(self._by_tag), set()
                await self._open_feed()
            assert self._feed is not None
            feed, binding, unbinding = self._feed, self._to_bind, set(islice(self._to_unbind, UNBIND_AT_ONCE))
            self._to_bind = set()
            self._to_unbind -= unbinding
            try:
                if binding:
                    await feed.bind(binding)
                if unbinding:
                    await feed.unbind(unbinding)
            except BaseException as failed:
                # What is bound now is unknown: begin again with a fresh queue.
                self._lost(feed, f"binding failed: {failed!r}")
                await feed.close()
                raise
            if self._feed is not feed:
                raise BrokerUnavailable("the feed was lost while it was being bound")

    async def _open_feed(self) -> None:
        # The feed may be lost before `open_feed` has even returned it.
        opened: list[Feed | None] = [None]
        early: list[str] = []

        def on_lost(reason: str) -> None:
            if opened[0] is None:
                early.append(reason)
            else:
                self._lost(opened[0], reason)

        opened[0] = await self._broker.open_feed(self._on_entry, on_lost, self._on_progress)
        if early:
            raise BrokerUnavailable(early[0])
        self._feed = opened[0]

    async def _close_feed(self) -> None:
        feed, self._feed = self._feed, None
        self._to_bind, self._to_unbind = set(), set()
        if feed is not None:
            await feed.close()

    async def _tidy(self) -> None:
        """Lets go, a few at a time, of whatever nobody needs."""
        try:
            await self._reconcile()
            while self._to_unbind:
                await self._reconcile()
        except BrokerUnavailable as trouble:
            log.info("bindings stay until the broker is back: %s", trouble)
        finally:
            self._tidying = False

    def _lost(self, feed: Feed, reason: str) -> None:
        if self._feed is not feed:
            return
        self._feed = None
        metrics.feeds_lost.inc()
        self._tell_lost(reason)
        for listener in self._listeners:
            listener.interrupted()
        if not self._recovering:
            self._recovering = True
            self._spawn(self._recover(), "edge-recover-feed")

    async def _recover(self) -> None:
        try:
            while self._listeners:
                await asyncio.sleep(random.uniform(REOPEN_S / 2, REOPEN_S * 1.5))
                present = list(self._listeners)
                try:
                    await self._reconcile()
                except BrokerUnavailable:
                    continue
                for listener in present:
                    listener.bound()
                return
        finally:
            self._recovering = False

    def _on_progress(self, position: int) -> None:
        for listener in self._listeners:
            listener.progressed(position)

    def _on_entry(self, entry: Entry) -> None:
        concerned = [self._by_tag[tag] for tag in entry.audience if tag in self._by_tag]
        if not concerned:
            return
        frame = self._encode(entry)
        # Whoever holds several of its tags takes it once. Most events have one tag: nothing is put together then.
        for listener in concerned[0] if len(concerned) == 1 else set().union(*concerned):
            listener.deliver(entry, frame)


class Spawn(Protocol):
    """Starts a named background task that somebody watches.

    What it raises is logged, but for `Unavailable`: that is for whoever waits for the task.
    """

    def __call__(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]: ...


class Fanout:
    """All scopes of this process, by the key that the routing gives each connection."""

    def __init__(self, broker: Broker, encode: Callable[[Entry], EventFrame], spawn: Spawn) -> None:
        self._broker, self._encode, self._spawn = broker, encode, spawn
        self._scopes: dict[str, Scope] = {}
        self._shared: dict[int, EventFrame] = {}
        self._told_lost_at = -TELL_LOST_EVERY_S

    async def join(self, key: str, listener: Listener) -> None:
        """Delivers to the listener from now on. Raises `BrokerUnavailable`."""
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(self._broker, self._frame_of, self._spawn, self._tell_lost)
        try:
            await scope.join(listener)
        finally:
            self._drop_if_empty(key, scope)

    async def change(self, key: str, listener: Listener, tags: frozenset[str]) -> None:
        """Delivers what these tags may see instead. Raises `BrokerUnavailable`; for who has left nothing happens."""
        if scope := self._scopes.get(key):
            await scope.change(listener, tags)

    def leave(self, key: str, listener: Listener) -> None:
        """Ends the delivery; safe to call twice."""
        if scope := self._scopes.get(key):
            scope.leave(listener)
            self._drop_if_empty(key, scope)

    def forget_frames(self) -> None:
        """The log is another one now: its cursors differ."""
        self._shared.clear()

    def scopes(self) -> Sequence[str]:
        """The keys of the scopes that have connections."""
        return list(self._scopes)

    def _tell_lost(self, reason: str) -> None:
        """One line an incident: a broker that goes takes the feeds of ten thousand users with it."""
        now = asyncio.get_running_loop().time()
        if now - self._told_lost_at >= TELL_LOST_EVERY_S:
            self._told_lost_at = now
            log.warning("feeds lost: %s", reason, extra={"feeds": len(self._scopes)})

    def _drop_if_empty(self, key: str, scope: Scope) -> None:
        if scope.is_empty and self._scopes.get(key) is scope:
            del self._scopes[key]

    def _frame_of(self, entry: Entry) -> EventFrame:
        frame = self._shared.get(entry.position)
        if frame is None:
            if len(self._shared) >= SHARED_FRAMES:
                del self._shared[next(iter(self._shared))]
            frame = self._shared[entry.position] = self._encode(entry)
        return frame
