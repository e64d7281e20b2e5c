"""Retention over a log in memory: what goes, what stays, and that an archive comes first."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.persister import retention
from services.persister.archive import archived
from services.persister.retention import Policy, Retention, expire, last_before, pages, trim
from services.persister.tenure import Tenure
from shared.conformance.samples import an_entry, positions_of
from shared.embedded.broker import open_broker
from shared.embedded.event_log import open_event_log
from shared.model.entry import Entry, Head
from shared.model.errors import InvalidInput, LogUnavailable
from shared.model.lines import Line, parsed_line
from shared.model.settings import Settings
from shared.ports.event_log import EventLog, Fence
from tests.eventually import answered

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def log() -> AsyncIterator[EventLog]:
    async with open_event_log(None) as event_log:
        yield event_log


def of_ages(*ages_s: float, type: str = "order.created") -> list[Entry]:
    """Entries from position 1 on, so old at `NOW`."""
    return [
        replace(
            an_entry(at, "user:alice"),
            type=type,
            appended_at=NOW - timedelta(seconds=age_s),
            event=f'{{"specversion":"1.0","id":"id-{at}","source":"/conformance","type":"{type}"}}'.encode(),
        )
        for at, age_s in enumerate(ages_s, 1)
    ]


async def filled(log: EventLog, entries: Sequence[Entry]) -> Fence:
    fence = await log.claim("test", 60, force=True)
    assert fence is not None
    await log.append(fence, entries)
    return fence


async def kept(log: EventLog) -> list[int]:
    return positions_of((await log.read(0, 10_000)).entries)


@pytest.mark.parametrize(
    ("ages_s", "age_s", "last"),
    [
        ((), 10, 0),
        ((5,), 10, 0),
        ((15,), 10, 1),
        ((10,), 10, 0),
        ((40, 30, 20, 10), 25, 2),
        ((40, 30, 20, 15), 10, 4),
        ((9, 8, 7), 10, 0),
        (tuple(range(200, 0, -1)), 100, 100),
    ],
)
async def test_the_last_position_before_a_moment(
    log: EventLog, ages_s: tuple[float, ...], age_s: float, last: int
) -> None:
    await filled(log, of_ages(*ages_s))
    assert await last_before(log, NOW - timedelta(seconds=age_s)) == last


async def test_trim_archives_what_it_removes(log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PART_ENTRIES", 4)
    monkeypatch.setattr(retention, "SLICE_ENTRIES", 3)
    written = of_ages(*range(20, 0, -1))
    await filled(log, written)
    assert await trim(log, 10, tmp_path, 0) == 10
    head = await log.head()
    assert (head.floor, await kept(log)) == (10, list(range(11, 21)))
    files = read_archives(tmp_path)
    assert list(files) == [
        "000000000001-000000000004.jsonl.gz",
        "000000000005-000000000008.jsonl.gz",
        "000000000009-000000000010.jsonl.gz",
    ]
    lines = [line for file in files.values() for line in file]
    assert [line for line in lines if isinstance(line, Entry)] == written[:10]
    assert [line for line in lines if isinstance(line, Head)] == [
        Head(head.log_id, 4, 0), Head(head.log_id, 8, 4), Head(head.log_id, 10, 8),
    ]  # fmt: skip


def files_in(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.rglob(pattern) if path.is_file()]


def read_archives(folder: Path) -> dict[str, list[Line]]:
    """Each file's lines, by its name."""
    packed = {path.name: gzip.decompress(path.read_bytes()) for path in sorted(folder.rglob("*.gz"))}
    return {name: [parsed_line(line, 1) for line in text.splitlines()] for name, text in packed.items()}


async def test_without_its_archive_nothing_is_removed(log: EventLog, tmp_path: Path) -> None:
    await filled(log, of_ages(3, 2, 1))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogUnavailable, match="archive"):
        await trim(log, 2, tmp_path / "file", 0)
    assert (await log.head()).floor == 0
    assert await kept(log) == [1, 2, 3]


async def test_two_that_trim_at_once_leave_whole_archives(log: EventLog, tmp_path: Path) -> None:
    """They wrote into one file, and then both removed what was in it."""
    written = of_ages(*range(300, 0, -1))
    await filled(log, written)
    await asyncio.gather(*(trim(log, 250, tmp_path, 0) for _ in range(3)), return_exceptions=True)
    found = [line for file in read_archives(tmp_path).values() for line in file if isinstance(line, Entry)]
    assert found == written[: (await log.head()).floor] == written[:250]
    assert files_in(tmp_path, "*.part") == []


async def test_what_somebody_else_removed_meanwhile_is_not_taken_for_archived(log: EventLog, tmp_path: Path) -> None:
    await filled(log, of_ages(3, 2, 1))
    head = await log.head()
    await log.upkeep.raise_floor(2)
    with pytest.raises(LogUnavailable, match="trimmed by somebody else"):
        await archived(tmp_path, Head(head.log_id, 3, 0), pages(log, 0, 3))
    assert files_in(tmp_path, "*") == []


async def test_a_round_that_was_cut_short_is_finished(log: EventLog) -> None:
    await filled(log, of_ages(3, 2, 1))
    await log.upkeep.raise_floor(2)
    assert await trim(log, 2, None, 0) == 2
    assert await kept(log) == [3]


async def test_content_expires_by_type_and_positions_stay(log: EventLog) -> None:
    entries = of_ages(50, 40, 30, 20)
    entries[1] = replace(entries[1], type="metrics.updated")
    entries[3] = replace(entries[3], type="metrics.updated")
    await filled(log, entries)
    assert await expire(log, "metrics.*", 0, 3, dry=True) == 1
    assert await expire(log, "metrics.*", 0, 3) == 1
    assert await expire(log, "metrics.*", 0, 3) == 0, "once is enough"
    assert await kept(log) == [1, 2, 3, 4]
    assert positions_of((await log.read(0, 10, ["user:alice"])).entries) == [1, 3, 4]


async def test_who_says_that_it_has_expired_is_not_believed(log: EventLog) -> None:
    """The mark is an attribute that anybody may send: its content stayed for good."""
    said = b'{"specversion":"1.0","id":"id-1","source":"/conformance","type":"order.created","expired":"true","data":1}'
    await filled(log, [replace(of_ages(50)[0], audience=(), event=said)])
    assert await expire(log, "*", 0, 1) == 1
    assert b"data" not in (await log.read(0, 1)).entries[0].event


async def test_what_ended_a_session_does_not_expire(log: EventLog) -> None:
    entry = replace(of_ages(50)[0], audience=("control:alice",))
    await filled(log, [entry])
    assert await expire(log, "*", 0, 1) == 0
    assert list((await log.read(0, 1)).entries) == [entry]


def test_no_session_outlives_its_end() -> None:
    with pytest.raises(InvalidInput, match="CARILLON_SESSION_MAX_S"):
        Policy.of(Settings(retention_max_age_s=3600))
    assert Policy.of(Settings(retention_max_age_s=3600, session_max_s=3600)).forgets_anything
    assert not Policy.of(Settings()).forgets_anything


async def test_the_loop_forgets_what_is_old_and_was_followed(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions 1 to 3 are old; the followers have come to 2."""
    monkeypatch.setattr(retention, "ROUND_EVERY_S", 0.01)
    now = datetime.now(UTC)
    entries = [replace(entry, appended_at=now - timedelta(seconds=100)) for entry in of_ages(4, 3, 2, 1)]
    entries[3] = replace(entries[3], appended_at=now)
    await filled(log, entries)
    came_to = [2]

    async def followed() -> int:
        return came_to[0]

    async with open_broker(None) as broker:
        tenure = Tenure(log, broker, "test", 60)
        await tenure.take(force=True)
        policy = Policy(max_age_s=50, type_ages_s={"order.*": 10}, archive=None)
        loop = asyncio.create_task(Retention(log, tenure, policy, followed, 0).run())
        try:
            await comes_to(log, [3, 4])
            came_to[0] = 4
            await comes_to(log, [4])
        finally:
            loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loop


async def comes_to(log: EventLog, positions: list[int]) -> None:
    """Waits until the log holds these positions."""

    async def look() -> None:
        assert await kept(log) == positions

    await answered(look, AssertionError)
