"""What the active persister remembers of what it appended, and what its followers then read."""

from __future__ import annotations

import pytest

from services.persister.recent import ENTRY_BYTES, Recent, RecentLog
from services.persister.tenure import Tenure
from shared.conformance.samples import an_entry, entries, many_tags, positions_of
from shared.embedded import open_embedded
from shared.model.entry import Page


def recent(*runs: tuple[int, int], max_bytes: int = 10_000) -> Recent:
    """After runs of (first position, count) were added."""
    made = Recent(max_bytes)
    for first, count in runs:
        made.add(entries(first, count))
    return made


@pytest.mark.parametrize(
    ("runs", "after", "limit", "found"),
    [
        ([], 0, 5, []),
        ([(1, 3)], 0, 5, [1, 2, 3]),
        ([(1, 3)], 1, 1, [2]),
        ([(1, 3)], 3, 5, []),
        ([(1, 3)], 7, 5, []),
        ([(4, 2)], 2, 5, []),
        ([(4, 2)], 3, 5, [4, 5]),
        ([(1, 3), (4, 2)], 1, 9, [2, 3, 4, 5]),
        ([(1, 3), (9, 2)], 1, 9, []),
        ([(1, 3), (9, 2)], 8, 9, [9, 10]),
        ([(9, 2), (3, 2)], 2, 9, [3, 4]),
    ],
)
def test_an_unbroken_run_up_to_the_last(runs: list[tuple[int, int]], after: int, limit: int, found: list[int]) -> None:
    assert positions_of(recent(*runs).after(after, limit)) == found


def test_the_oldest_go_first() -> None:
    kept = recent((1, 9), max_bytes=3 * (ENTRY_BYTES + len(entries(1, 1)[0].event)) + 1)
    assert positions_of(kept.after(6, 9)) == [7, 8, 9]
    assert kept.after(5, 9) == []
    kept.add(entries(10, 1))
    assert positions_of(kept.after(7, 9)) == [8, 9, 10]


def test_audiences_count() -> None:
    """They are no part of the event that is kept, and may be a thousand times as large."""
    kept = Recent(1_000_000)
    kept.add([an_entry(at, *many_tags()) for at in range(1, 30)])
    assert kept.after(0, 100) == []
    assert 0 < len(kept.after(26, 100)) <= 3


async def test_a_follower_reads_the_log_where_nobody_remembers() -> None:
    async with open_embedded(None) as (broker, event_log, *_):
        tenure = Tenure(event_log, broker, "test", 60)
        fence = await tenure.take(force=True)
        follower = RecentLog(event_log, tenure)
        await event_log.append(fence, entries(1, 4))
        tenure.advanced(entries(1, 4))
        first = await follower.read(0, 3)
        assert (positions_of(first.entries), first.at_head) == ([1, 2, 3], False), (
            "where the log is, only the log knows"
        )
        await event_log.append(fence, entries(5, 2))
        tenure.advanced(entries(5, 2))
        page = await follower.read(3, 9)
        assert (positions_of(page.entries), page.through, page.at_head) == ([4, 5, 6], 6, True)
        assert page.head.log_id == first.head.log_id
        tenure.end(fence, "a test")
        other = Tenure(event_log, broker, "other", 60)
        await event_log.append(await other.take(force=True), entries(7, 2))
        await tenure.take(force=True)
        page = await follower.read(6, 9)
        assert (positions_of(page.entries), page.at_head) == ([7, 8], True), "what another one appended"


async def test_who_begins_anew_reads_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention may have emptied there what is still in memory."""
    async with open_embedded(None) as (broker, event_log, *_):
        tenure = Tenure(event_log, broker, "test", 60)
        fence = await tenure.take(force=True)
        follower = RecentLog(event_log, tenure)
        await follower.read(0, 9)
        await event_log.append(fence, entries(1, 4))
        tenure.advanced(entries(1, 4))
        reads: list[int] = []
        read = event_log.read

        async def counted(after: int, limit: int) -> Page:
            reads.append(after)
            return await read(after, limit)

        monkeypatch.setattr(event_log, "read", counted)
        assert positions_of((await follower.read(0, 3)).entries) == [1, 2, 3]
        assert positions_of((await follower.read(3, 3)).entries) == [4]
        assert reads == [], "what came after it had seen the end is in memory"
        assert (await follower.read(4, 3)).at_head
        assert positions_of((await follower.read(0, 3)).entries) == [1, 2, 3]
        assert positions_of((await follower.read(3, 3)).entries) == [4]
        assert reads == [4, 0, 3]
