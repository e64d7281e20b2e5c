"""A user's inbox and topics: read as of one position, changed by events through the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from services.edge import looking
from services.edge.grants import NotGranted, is_granted
from services.edge.inbox_requests import Marking, marked, subscription_changed, topic_tag
from services.edge.sessions import Session
from shared.folds.inbox import MODEL, Subscription, Topics
from shared.folds.inbox_reading import (
    MAX_COUNTED,
    MAX_TOPICS,
    Counts,
    Page,
    Viewer,
    Wanted,
    inbox_counts,
    inbox_page,
    placed,
)
from shared.folds.inbox_reading import subscriptions as reading_subscriptions
from shared.folds.moments import shown
from shared.model.cursor import Cursor
from shared.model.errors import InvalidInput, ModelMissing
from shared.model.event import Event
from shared.model.read_model import Reading
from shared.ports.read_models import ReadModels

# How long a request waits to see its own event folded.
FOLDED_WITHIN_S = 2.0

Result = TypeVar("Result")


class TooManyTopics(InvalidInput):
    """The user has as many topics as are read for an inbox."""

    reason = "too-many-topics"


class NoItem(InvalidInput):
    """There is no such item, or it is somebody else's: nobody is told which."""

    reason = "no-item"


@dataclass(frozen=True, slots=True)
class AsOf(Generic[Result]):
    """What was read, and the cursor from which a stream goes on without gap or repeat."""

    result: Result
    cursor: str


class Inbox:
    """Reads the model, and appends what users do.

    Args:
        announce: publishes an event, and returns its position once the log has it.
    """

    def __init__(self, models: ReadModels, announce: Callable[[Event], Awaitable[int]]) -> None:
        self._models, self._announce = models, announce

    async def page(self, session: Session, wanted: Wanted) -> AsOf[Page]:
        """Items of the user, newest first. Raises `LogUnavailable`."""
        return await self._read(inbox_page(_viewer(session), wanted))

    async def counts(self, session: Session, at_least: int = 0) -> AsOf[Counts]:
        """How many are unread and unseen, as of this position or a later one. Raises `LogUnavailable`."""
        return await self._read(inbox_counts(_viewer(session)), at_least)

    async def mark(self, session: Session, mark: str, marking: Marking) -> AsOf[Counts]:
        """Marks items, and returns the counts that follow. Raises `NoItem`, and then nothing was marked."""
        spans = ((1, marking.through),) if marking.through is not None else await self._spans(session, mark, marking)
        if spans[0][1] < 1:
            return await self.counts(session)
        return await self.counts(session, await self._announce(marked(session.sub, mark, spans, marking)))

    async def _spans(self, session: Session, mark: str, marking: Marking) -> Any:
        widen = mark in ("seen", "read", "archived")
        found = (await self._read(placed(_viewer(session), marking.ids, widen=widen))).result
        if found.missing:
            raise NoItem("ids", f"there is no item {found.missing[0][:40]!r}", "load the inbox again")
        return found.spans

    async def subscriptions(self, session: Session, at_least: int = 0) -> AsOf[Sequence[Subscription]]:
        """What the user follows and mutes. Raises `LogUnavailable`."""
        return await self._read(reading_subscriptions(session.sub), at_least)

    async def known_topics(self, session: Session) -> Topics:
        """The same for a stream; of a model that is only being built, nothing. Raises `LogUnavailable`."""
        try:
            found = await self._models.read(MODEL.name, reading_subscriptions(session.sub))
        except ModelMissing:
            return Topics(0, {})
        return Topics(found.generation.position, {each.topic: each for each in found.result})

    def followed(self, session: Session, topics: Topics) -> Mapping[str, int]:
        """The tags of what the user follows and may still see, and since which position."""
        followed = {
            f"topic:{name}": each.since for name, each in topics.by_name.items() if each.followed_at is not None
        }
        return {tag: since for tag, since in followed.items() if is_granted(tag, session.grants)}

    async def change(
        self, session: Session, topic: str, change: str, until: str | None = None
    ) -> AsOf[Sequence[Subscription]]:
        """Follows, unfollows, mutes or unmutes.

        Raises `NotGranted` for a topic that the session may not see, `TooManyTopics` for one more than are read.
        """
        if change in ("followed", "muted"):
            if not is_granted(topic_tag(topic), session.grants):
                raise NotGranted("topic", f"not granted: {topic[:200]}", "follow topics that the session may see")
            known = (await self.known_topics(session)).by_name
            if topic not in known and len(known) >= MAX_TOPICS:
                raise TooManyTopics("topic", f"{len(known)} are followed or muted", "unfollow and unmute another first")
        event = subscription_changed(session.sub, topic, change, until)
        return await self.subscriptions(session, await self._announce(event))

    async def _read(self, reading: Reading[Result], at_least: int = 0) -> AsOf[Result]:
        if at_least:
            await self._folded(at_least)
        found = await self._models.read(MODEL.name, reading)
        return AsOf(found.result, str(Cursor(found.generation.log_id, found.generation.position)))

    async def _folded(self, position: int) -> None:
        """Returns once the model holds the log up to a position. Raises `LogUnavailable` after `FOLDED_WITHIN_S`."""

        async def is_folded() -> bool | None:
            found = await self._models.read(MODEL.name, _nothing())
            return True if found.generation.position >= position else None

        missing = "what was changed is in the log, and not yet in the inbox"
        await looking.found(is_folded, FOLDED_WITHIN_S, missing)


def _nothing() -> Reading[None]:
    """Asks for no row, only for the position."""
    return None
    yield


def _viewer(session: Session) -> Viewer:
    return Viewer(session.sub, lambda tag: is_granted(tag, session.grants), shown(datetime.now(UTC)))


def counts_document(counts: Counts) -> dict[str, int]:
    """As clients see them: a count over `limit` stands for more."""
    return {"unread": counts.unread, "unseen": counts.unseen, "limit": MAX_COUNTED - 1}


def subscription_document(subscription: Subscription, now: str) -> dict[str, Any]:
    """As clients see it."""
    is_muted = subscription.is_muted(now)
    return {
        "topic": subscription.topic,
        "followed_at": subscription.followed_at,
        "muted": is_muted,
        "muted_until": subscription.muted_until if is_muted else None,
    }
