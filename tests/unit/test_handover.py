"""The handover as a table: what arrives, in which order, and what the client then has."""

from __future__ import annotations

import pytest

from services.edge.frames import ResetReason
from services.edge.handover import Handover, Offer, start_after
from shared.model.entry import Head

FRAME = b"0123456789"


def opened(after: int = 0, *, behind: bool = True, max_frames: int = 3, max_bytes: int = 1000) -> Handover[bytes]:
    return Handover(after, max_frames, max_bytes, behind=behind)


def positions(frames: list[bytes]) -> list[int]:
    return [int(frame) for frame in frames]


def offer(handover: Handover[bytes], *live: int) -> list[Offer]:
    return [handover.offer(position, b"%d " % position) for position in live]


def test_live_frames_wait_until_the_backlog_is_read() -> None:
    handover = opened()
    handover.begin_read()
    offer(handover, 6, 7)
    assert handover.take(1000) == []
    handover.end_read(5, at_head=True)
    assert positions(handover.take(1000)) == [6, 7]
    assert handover.sent == 7


def test_what_the_read_brought_is_not_sent_again() -> None:
    handover = opened()
    handover.begin_read()
    offer(handover, 4, 5, 6)
    handover.end_read(5, at_head=True)
    assert positions(handover.take(1000)) == [6]


def test_a_page_that_ends_before_the_head_asks_for_another() -> None:
    handover = opened()
    handover.begin_read()
    handover.end_read(200, at_head=False)
    assert handover.must_read
    assert handover.begin_read() == 200


@pytest.mark.parametrize("repeat", [1, 2, 3])
def test_repeats_of_the_dispatch_are_dropped(repeat: int) -> None:
    handover = opened(behind=False)
    offer(handover, 1, 2, 3)
    assert handover.offer(repeat, FRAME) is Offer.DROPPED
    assert positions(handover.take(1000)) == [1, 2, 3]
    assert handover.offer(repeat, FRAME) is Offer.DROPPED


def test_a_dispatch_that_begins_again_at_its_checkpoint_loses_nothing() -> None:
    handover = opened(behind=False, max_frames=10)
    offer(handover, 5, 6, 7, 5, 6, 7, 8)
    assert positions(handover.take(1000)) == [5, 6, 7, 8]


def test_overflow_while_live_cuts_the_reader_and_keeps_nothing() -> None:
    handover = opened(behind=False, max_frames=3)
    assert offer(handover, 1, 2, 3, 4) == [Offer.KEPT, Offer.KEPT, Offer.KEPT, Offer.OVERFLOW]
    assert handover.take(1000) == []


def test_overflow_by_bytes() -> None:
    handover = opened(behind=False, max_bytes=25)
    assert [handover.offer(position, FRAME) for position in (1, 2, 3)][-1] is Offer.OVERFLOW


def test_bytes_taken_make_room() -> None:
    handover = opened(behind=False, max_bytes=25)
    for position in range(1, 50):
        assert handover.offer(position, FRAME) is Offer.KEPT
        assert handover.take(1000) == [FRAME]


def test_overflow_while_behind_reads_the_log_once_more() -> None:
    """The dropped frames are above the head of the read under way, so that read must not be the last."""
    handover = opened(max_frames=3)
    handover.begin_read()
    offer(handover, 11, 12, 13, 14)
    handover.end_read(10, at_head=True)
    assert handover.must_read
    assert handover.begin_read() == 10
    offer(handover, 15)
    handover.end_read(14, at_head=True)
    assert positions(handover.take(1000)) == [15]


def test_a_lost_feed_forgets_what_waits_and_reads_again_once_it_is_back() -> None:
    handover = opened(behind=False)
    offer(handover, 1, 2)
    handover.bound(False)
    assert handover.take(1000) == []
    assert handover.begin_read() == 0
    handover.end_read(2, at_head=True)
    assert handover.behind
    handover.bound(True)
    assert handover.begin_read() == 2
    offer(handover, 5)
    handover.end_read(4, at_head=True)
    assert positions(handover.take(1000)) == [5]


def test_a_read_that_began_before_the_feed_was_lost_does_not_end_the_handover() -> None:
    handover = opened()
    handover.begin_read()
    handover.bound(False)
    handover.bound(True)
    handover.end_read(5, at_head=True)
    assert handover.behind
    assert handover.must_read


def test_without_a_feed_the_log_is_read_to_its_head_and_no_further() -> None:
    handover = opened()
    handover.bound(False)
    handover.begin_read()
    handover.end_read(200, at_head=False)
    assert handover.begin_read() == 200
    handover.end_read(250, at_head=True)
    assert handover.behind
    assert not handover.must_read
    handover.bound(True)
    assert handover.must_read


def test_take_is_bounded() -> None:
    handover = opened(behind=False, max_frames=100)
    for position in range(1, 11):
        handover.offer(position, FRAME)
    assert handover.take(25) == [FRAME] * 3
    assert handover.sent == 3
    assert handover.take(1000) == [FRAME] * 7


def test_progress_waits_for_what_is_not_sent_yet() -> None:
    handover = opened(behind=False)
    offer(handover, 3)
    handover.passed(10)
    assert handover.progress == 0
    handover.take(1000)
    assert handover.progress == 10
    handover.bound(False)
    assert handover.progress == 3


def test_progress_told_while_behind_proves_nothing() -> None:
    handover = opened()
    handover.begin_read()
    handover.passed(10)
    handover.end_read(4, at_head=True)
    assert handover.progress == 4


HEAD = Head(log_id="abc", last=50, floor=10)


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (None, (50, None)),
        ("earliest", (10, None)),
        ("abc.50", (50, None)),
        ("abc.10", (10, None)),
        ("abc.20", (20, None)),
        ("abc.9", (50, ResetReason.TRIMMED)),
        ("abc.51", (50, ResetReason.AHEAD)),
        ("xyz.20", (50, ResetReason.OTHER_LOG)),
        ("", (50, ResetReason.UNREADABLE)),
        ("garbage", (50, ResetReason.UNREADABLE)),
        ("abc.-1", (50, ResetReason.UNREADABLE)),
        ("abc.007", (50, ResetReason.UNREADABLE)),
        ("abc.٣", (50, ResetReason.UNREADABLE)),
        ("x" * 10_000, (50, ResetReason.UNREADABLE)),
    ],
)
def test_where_a_stream_begins(requested: str | None, expected: tuple[int, ResetReason | None]) -> None:
    assert start_after(requested, HEAD) == expected
