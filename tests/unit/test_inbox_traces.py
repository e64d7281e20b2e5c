"""When a notification is in nobody's inbox because its topics are muted."""

from __future__ import annotations

import pytest

from services.edge.inbox_traces import is_muted
from shared.folds.inbox import Subscription, Topics

NOW = "2026-01-31T12:00:00.000Z"
FOLLOWED_AT = "2026-01-01T00:00:00.000Z"
TOPICS = Topics(9, {
    "builds": Subscription("builds", FOLLOWED_AT, 1),
    "noise": Subscription("noise", FOLLOWED_AT, 1, muted=True),
    "later": Subscription("later", FOLLOWED_AT, 1, muted=True, muted_until="2026-01-31T13:00:00.000Z"),
    "over": Subscription("over", FOLLOWED_AT, 1, muted=True, muted_until="2026-01-31T11:00:00.000Z"),
})  # fmt: skip


@pytest.mark.parametrize(
    ("audience", "muted"),
    [
        (("topic:noise",), True),
        (("topic:later",), True),
        (("topic:noise", "topic:later", "topic:unfollowed"), True),
        (("topic:over",), False),
        (("topic:builds",), False),
        (("topic:noise", "topic:builds"), False),
        (("topic:noise", "user:alice"), False),
        (("topic:noise", "everyone"), False),
        (("topic:noise", "user:bob"), True),
        (("topic:unfollowed",), False),
        (("user:bob",), False),
    ],
)
def test_what_is_muted(audience: tuple[str, ...], muted: bool) -> None:
    assert is_muted("alice", audience, TOPICS, NOW) is muted
