"""What only SQLite, one process and a folder can get wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from shared.conformance.samples import SOURCE, an_entry, an_event, entries, events
from shared.conformance.waiting import eventually
from shared.embedded import SqliteBroker, database, event_log, open_embedded, queue
from shared.embedded.broker import SCHEMA, broker_over, open_broker
from shared.embedded.database import Database, open_database
from shared.embedded.tail import Tail
from shared.model.entry import Entry, Head
from shared.model.errors import AppendConflict, AppendRejected, BrokerUnavailable, InvalidInput, LogUnavailable
from shared.model.event import Event
from shared.ports.broker import Broker
from tests.contract.publish_until_killed import PUBLISHERS
from tests.eventually import WITHIN_S

ROOT = Path(__file__).parents[2]


async def received(from_broker: Broker, count: int) -> list[str]:
    """The ids of the next `count` arrivals, acknowledged."""
    return await _received(from_broker, lambda found: len(found) >= count)


async def received_until(from_broker: Broker, last: str) -> list[str]:
    """The ids of the next arrivals up to this one, acknowledged."""
    return await _received(from_broker, lambda found: last in found)


async def _received(from_broker: Broker, enough: Callable[[list[str]], bool]) -> list[str]:
    found: list[str] = []
    async with from_broker.intake(10_000) as intake:
        while not enough(found):
            async with asyncio.timeout(WITHIN_S):
                batch = await intake.batch(500, 0.0)
            found += [Event.from_json(arrival.body).id for arrival in batch]
            await intake.ack(batch[-1])
    return found


class TestFolder:
    async def test_a_second_process_is_refused_and_told_why(self, tmp_path: Path) -> None:
        async with open_embedded(tmp_path):
            with pytest.raises(InvalidInput) as refused:
                async with open_embedded(tmp_path):
                    pass
        assert refused.value.reason == "folder-in-use"
        for told in (str(tmp_path), str(os.getpid()), "stop that process"):
            assert told in str(refused.value)

    async def test_it_is_free_again_afterwards(self, tmp_path: Path) -> None:
        for _ in range(2):
            async with open_embedded(tmp_path / "deep" / "er") as (opened, *_):
                await opened.ping()
        assert (tmp_path / "deep" / "er").stat().st_mode & 0o077 == 0, "events are nobody else's business"

    async def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InvalidInput, match=r"file.*--memory"):
            async with open_embedded(tmp_path / "file" / "data"):
                pass

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    async def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        os.chmod(tmp_path, 0o500)
        with pytest.raises(InvalidInput, match="Permission denied"):
            async with open_embedded(tmp_path):
                pass

    async def test_a_database_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "log.db").mkdir()
        with pytest.raises(LogUnavailable, match=r"log\.db.*make sure that its folder"):
            async with open_embedded(tmp_path):
                pass

    async def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broker.db").write_bytes(b"no database at all" * 100)
        with pytest.raises(BrokerUnavailable, match=r"broker\.db.*no SQLite database"):
            async with open_embedded(tmp_path):
                pass
        async with open_embedded(tmp_path / "other"):
            pass


class TestKilled:
    @pytest.mark.parametrize("confirmations", [1, 40, 2000])
    async def test_what_was_confirmed_is_there(self, tmp_path: Path, confirmations: int) -> None:
        """Killed twice over the same files: the second life begins with what the first one left."""
        told = [*killed_after(tmp_path, confirmations), *killed_after(tmp_path, confirmations)]
        published = [line.removeprefix("published ") for line in told if line.startswith("published ")]
        appended = [int(line.removeprefix("appended ")) for line in told if line.startswith("appended ")]
        async with open_embedded(tmp_path) as (opened, log, *_):
            head = await log.head()
            page = await log.read(0, head.last + 1)
            assert [entry.position for entry in page.entries] == list(range(1, head.last + 1))
            assert head.last >= max(appended, default=0)
            await opened.publish(an_event(0, id="last"))
            found = await received_until(opened, "last")
        assert Counter(published) <= Counter(found)
        for publisher in range(PUBLISHERS):
            assert in_turns([name for name in found if name.startswith(f"{publisher}-")])


def killed_after(folder: Path, lines: int) -> list[str]:
    """The complete lines that the program told before it was killed, at least `lines`."""
    command = [sys.executable, "-m", "tests.contract.publish_until_killed", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.decode().rstrip() for line in told if line.endswith(b"\n")]


def in_turns(names: list[str]) -> bool:
    """Whether each life of one publisher counts up from 0 without a gap."""
    numbers = [int(name.split("-")[1]) for name in names]
    return all(after in (before + 1, 0) for before, after in zip([-1, *numbers], numbers, strict=False))


class TestTrouble:
    async def test_a_full_disk_refuses_and_forgets_nothing(self, tmp_path: Path) -> None:
        async with (
            open_database(tmp_path / "broker.db", SCHEMA, BrokerUnavailable) as opened,
            broker_over(opened) as broker,
        ):
            await broker.publish(an_event(1))
            await limit_pages(opened, 1)
            with pytest.raises(BrokerUnavailable, match=r"broker\.db.*free some space"):
                await broker.publish(an_event(2, data="x" * 100_000))
            await limit_pages(opened, 1_000_000)
            await broker.publish(an_event(3))
            assert await received(broker, 2) == ["event-1", "event-3"]
            await broker.publish(an_event(4))
            assert await received(broker, 1) == ["event-4"]

    async def test_a_held_lock_is_told_in_bounded_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "LOCK_WITHIN_S", 0.1)
        async with event_log.open_event_log(tmp_path / "log.db") as log:
            with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(LogUnavailable, match=r"log\.db.*another process holds it"):
                    await log.claim("me", 1, force=True)
                assert (await log.head()).last == 0, "readers wait for no writer"
            assert await log.claim("me", 1, force=True), "it goes on by itself"

    async def test_a_silent_disk_is_told_in_bounded_time_and_loses_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer_within_s = database.ANSWER_WITHIN_S
        released = threading.Event()
        insert = queue._insert

        def silent(db: sqlite3.Connection, rows: Sequence[tuple[int, bytes]]) -> None:
            released.wait()
            insert(db, rows)

        monkeypatch.setattr(queue, "_insert", silent)
        async with open_broker(tmp_path / "broker.db") as opened:
            monkeypatch.setattr(database, "ANSWER_WITHIN_S", 0.2)
            with pytest.raises(BrokerUnavailable, match="no answer within"):
                await opened.publish(an_event(1))
            with pytest.raises(BrokerUnavailable, match="no answer within"):
                await opened.ping()
            monkeypatch.setattr(database, "ANSWER_WITHIN_S", answer_within_s)
            released.set()
            await opened.publish(an_event(2))
            # The first was stored after all, too late for its publisher; it is not to be skipped.
            assert await received(opened, 2) == ["event-1", "event-2"]

    async def test_publishes_wait_within_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue, "WAITING_MAX_BYTES", 1000)
        async with open_embedded(None) as (opened, *_):
            publishes = [opened.publish_raw(b"x" * 400, "") for _ in range(4)]
            outcomes = await asyncio.gather(*publishes, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [type(None)] * 2 + [BrokerUnavailable] * 2
            await opened.publish_raw(b"x" * 400, "")

    async def test_what_sqlite_cannot_hold_is_rejected(self, tmp_path: Path) -> None:
        async with event_log.open_event_log(tmp_path / "log.db") as log:
            fence = await log.claim("me", 60, force=True)
            assert fence is not None
            for poison in (an_entry(2, subject="s", version=2**63), an_entry(2, subject="\ud800", version=1)):
                with pytest.raises(AppendRejected):
                    await log.append(fence, [an_entry(1), poison])
            assert (await log.head()).last == 0

    @pytest.mark.parametrize(("pragma", "value"), [("synchronous", 2), ("journal_mode", "wal")])
    async def test_a_commit_is_on_the_disk(self, tmp_path: Path, pragma: str, value: object) -> None:
        """No test can cut the power: `kill -9` leaves what the kernel holds, so the setting is read back."""
        async with open_database(tmp_path / "broker.db", SCHEMA, BrokerUnavailable) as opened:
            assert await opened.write(lambda db: db.execute(f"PRAGMA {pragma}").fetchone()) == (value,)


async def limit_pages(opened: Database, pages: int) -> None:
    await opened.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())


class TestQueue:
    async def test_those_who_wait_share_a_commit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        commits = 0
        write = Database.write

        async def counted(self: Database, transaction: database.Transaction[None]) -> None:
            nonlocal commits
            commits += 1
            await write(self, transaction)

        async with open_embedded(tmp_path) as (opened, *_):
            monkeypatch.setattr(Database, "write", counted)
            await asyncio.gather(*(opened.publish(event) for event in events(1, 300)))
        assert commits <= 3

    async def test_a_publisher_that_gives_up_does_not_disturb_the_others(self, tmp_path: Path) -> None:
        async with open_embedded(tmp_path) as (opened, *_):
            publishes = [asyncio.create_task(opened.publish(event)) for event in events(1, 50)]
            await asyncio.sleep(0)
            publishes[7].cancel()
            await asyncio.gather(*publishes, return_exceptions=True)
            assert await received(opened, 50) == [f"event-{number}" for number in range(1, 51)]

    async def test_a_backlog_beyond_the_tail_comes_from_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "TAIL_MAX_BYTES", 2000)
        async with open_embedded(tmp_path) as (opened, *_):
            for event in events(1, 200):
                await opened.publish(event)
            assert await received(opened, 200) == [f"event-{number}" for number in range(1, 201)]
            await opened.publish(an_event(201))
            assert await received(opened, 1) == ["event-201"]

    async def test_what_keeps_up_reads_no_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with open_embedded(tmp_path) as (opened, *_), opened.intake(100) as intake:
            monkeypatch.setattr(Database, "read", None)
            for event in events(1, 50):
                await opened.publish(event)
                batch = await intake.batch(10, 0.0)
                assert [Event.from_json(arrival.body) for arrival in batch] == [event]
                await intake.ack(batch[-1])

    async def test_its_end_is_told_to_everyone(self, tmp_path: Path) -> None:
        lost: list[str] = []
        async with open_embedded(tmp_path) as (opened, *_):
            feed = await opened.open_feed(print, lost.append)
            opened_intake = opened.intake(10)
            intake = await opened_intake.__aenter__()
            waiting = asyncio.create_task(intake.batch(1, 0.0))
            publishing = asyncio.create_task(opened.publish(an_event(1)))
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(waiting, publishing, opened.ping(), feed.bind(["a"]), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * 4
        assert lost == ["the embedded broker has ended"]
        await opened_intake.__aexit__(None, None, None)


class TestTail:
    def test_takes_in_order_up_to_the_limit(self) -> None:
        tail = Tail(0, 100)
        tail.add([(1, b"a"), (2, b"b"), (5, b"e")])
        assert tail.take(0, 2) == [(1, b"a"), (2, b"b")]
        assert tail.take(2, 9) == [(5, b"e")]
        assert tail.take(5, 9) == []

    def test_skips_what_the_disk_gave_already(self) -> None:
        tail = Tail(0, 100)
        tail.add([(1, b"a"), (2, b"b"), (3, b"c")])
        assert tail.take(2, 9) == [(3, b"c")]

    def test_leaves_the_oldest_to_the_disk_beyond_its_bound(self) -> None:
        tail = Tail(0, 4)
        tail.add([(1, b"aa"), (2, b"bb"), (3, b"cc")])
        assert tail.take(0, 9) is None
        assert tail.take(1, 9) == [(2, b"bb"), (3, b"cc")]

    def test_leaves_what_is_in_doubt_to_the_disk(self) -> None:
        tail = Tail(0, 100)
        tail.add([(1, b"a")])
        tail.forget(2)
        tail.add([(3, b"c")])
        assert tail.take(0, 9) is None
        assert tail.take(2, 9) == [(3, b"c")]

    def test_knows_nothing_of_before_its_time(self) -> None:
        assert Tail(7, 100).take(0, 9) is None


class TestFeeds:
    async def test_an_entry_reaches_a_feed_once_however_many_tags_are_bound(self) -> None:
        got: list[Entry] = []
        async with open_embedded(None) as (opened, *_):
            feed = await opened.open_feed(got.append, print)
            await feed.bind(["a", "b", "c"])
            sent = [an_entry(1, "a", "b", "c", "d"), an_entry(2, "b"), an_entry(3, "d")]
            await opened.deliver(sent)
            await feed.unbind(["b"])
            await opened.deliver([an_entry(4, "b"), an_entry(5, "b", "c")])
            assert got == [*sent[:2], an_entry(5, "b", "c")]
            await feed.close()

    async def test_a_receiver_that_fails_loses_its_feed_and_no_other(self) -> None:
        got: list[Entry] = []
        lost: list[str] = []

        def fail(entry: Entry) -> None:
            raise RuntimeError("cannot take it")

        async with open_embedded(None) as (opened, *_):
            failing, sound = await opened.open_feed(fail, lost.append), await opened.open_feed(got.append, print)
            for feed in (failing, sound):
                await feed.bind(["a"])
            await opened.deliver([an_entry(1, "a"), an_entry(2, "a")])
            assert [entry.position for entry in got] == [1, 2]
            assert lost == ["its receiver failed: RuntimeError('cannot take it')"]
            with pytest.raises(BrokerUnavailable):
                await failing.bind(["b"])
            await sound.close()

    async def test_a_receiver_may_close_feeds(self) -> None:
        got: list[Entry] = []
        async with open_embedded(None) as (opened, *_):
            feeds = [await opened.open_feed(got.append, print) for _ in range(3)]

            def close_all(entry: Entry) -> None:
                for feed in feeds:
                    feed.lose("closed by a receiver")

            closing_feed = await opened.open_feed(close_all, print)
            for feed in (closing_feed, *feeds):
                await feed.bind(["a"])
            await opened.deliver([an_entry(1, "a")])
            assert got == [], "a closed feed receives nothing more"


class TestLogRules:
    @pytest.mark.parametrize(
        ("owner", "holder", "left_s", "force", "granted"),
        [
            ("me", "", 0, False, True),
            ("me", "you", 5, False, False),
            ("me", "you", 5, True, True),
            ("me", "you", 0, False, True),
            ("me", "you", -1, False, True),
            ("me", "me", 5, False, True),
        ],
    )
    def test_who_may_claim(self, owner: str, holder: str, left_s: float, force: bool, granted: bool) -> None:
        assert event_log.may_claim(owner, holder, left_s, force=force) is granted

    @pytest.mark.parametrize(("last", "positions"), [(0, [2]), (5, [5]), (5, [6, 8]), (5, [6, 6]), (0, [0, 1])])
    def test_positions_that_do_not_follow_conflict(self, last: int, positions: Iterable[int]) -> None:
        with pytest.raises(AppendConflict):
            event_log.check_positions([an_entry(position) for position in positions], last)

    @pytest.mark.parametrize(
        ("found", "after", "limit", "through"),
        [(3, 0, 3, 3), (2, 0, 3, 9), (0, 4, 3, 9), (0, 4, 0, 4), (0, 20, 3, 9)],
    )
    def test_how_far_a_read_got(self, found: int, after: int, limit: int, through: int) -> None:
        assert event_log.read_through(entries(1, found), after, limit, Head("log", 9)) == through

    @pytest.mark.parametrize(
        ("limit", "tags", "share"), [(200, 1, 200), (200, 100, 8), (200, 20, 20), (5, 3, 5), (9, 0, 9)]
    )
    def test_the_share_of_each_tag(self, limit: int, tags: int, share: int) -> None:
        assert event_log.fair_share(limit, tags) == share

    async def test_any_read_is_the_slice_of_its_tags(self, tmp_path: Path) -> None:
        """Quiet and busy tags, few and many, at any depth: the shares must add up to the plain definition."""
        dice = random.Random(7)
        audiences = [{f"t{int(dice.paretovariate(0.6)) % 60}" for _ in range(dice.randrange(4))} for _ in range(1500)]
        async with event_log.open_event_log(tmp_path / "log.db") as log:
            fence = await log.claim("me", 60, force=True)
            assert fence is not None
            await log.append(fence, [an_entry(at, *tags) for at, tags in enumerate(audiences, 1)])
            for _ in range(400):
                tags = {f"t{number}" for number in dice.sample(range(60), dice.randrange(60))}
                after, limit = dice.randrange(1600), dice.choice([0, 1, 2, 9, 50, 400, 2000])
                page = await log.read(after, limit, tags)
                expected = [at for at, audience in enumerate(audiences, 1) if at > after and tags & audience][:limit]
                assert [entry.position for entry in page.entries] == expected

    async def test_a_read_costs_what_it_returns(self, tmp_path: Path) -> None:
        """Counted in SQLite's own steps, which no busy machine changes."""
        small, large = [await steps_of_reads(tmp_path / f"{size}.db", size) for size in (1000, 40_000)]
        for name, steps in small.items():
            assert large[name] <= 1.3 * steps, f"{name}: {steps} steps in a short log, {large[name]} in a long one"


async def count_steps(opened: Database) -> list[None]:
    """A list that grows by one with each step of the reader's virtual machine from now on."""
    steps: list[None] = []
    await opened.read(lambda db: db.set_progress_handler(lambda: steps.append(None), 1))
    return steps


async def steps_of_reads(path: Path, size: int) -> dict[str, int]:
    reads = {
        "all": None,
        "everyone": ["everyone"],
        "few": ["user:7"],
        "several": ["user:7", "everyone", "topic:a"],
        "many": [f"user:{number}" for number in range(1, 20, 2)],
        "nobody": ["user:nobody"],
    }
    async with open_database(path, event_log.SCHEMA, LogUnavailable) as opened:
        await opened.write(event_log.name_log)
        log = event_log.SqliteEventLog(opened)
        fence = await log.claim("me", 60, force=True)
        assert fence is not None
        for first in range(1, size, 1000):
            await log.append(fence, [one_of_many(position) for position in range(first, first + 1000)])
        counted = {}
        for name, tags in reads.items():
            steps = await count_steps(opened)
            page = await log.read(size // 2, 20, tags)
            assert len(page.entries) == (0 if name == "nobody" else 20)
            counted[name] = len(steps)
            assert len(await log.positions([(SOURCE, "id-500")])) == 1
            counted[f"positions after {name}"] = len(steps) - counted[name]
        return counted


def one_of_many(position: int) -> Entry:
    """Every tag comes often enough to fill a page in any log: only the number of matches differs."""
    tags = ("everyone", f"user:{position % 20}") if position % 2 else ("topic:a",)
    return an_entry(position, *tags, subject="s", version=position)


async def test_an_event_goes_the_whole_way_in_memory() -> None:
    got: list[Entry] = []
    async with open_embedded(None) as (opened, log, *_):
        assert isinstance(opened, SqliteBroker)
        feed = await opened.open_feed(got.append, print)
        await feed.bind(["user:alice"])
        await opened.publish(an_event(1, audience="user:alice"))
        fence = await log.claim("me", 60, force=True)
        assert fence is not None
        async with opened.intake(10) as intake:
            batch = await intake.batch(10, 0.0)
            await log.append(fence, [an_entry(1, "user:alice", id=Event.from_json(batch[0].body).id)])
            await intake.ack(batch[0])
        await opened.deliver((await log.read(0, 10)).entries)
        await eventually(lambda: [entry.id for entry in got] == ["event-1"], "what was published is delivered")
        await feed.close()
