"""Replays: which events, for whom, marked; counted first; on the pages and by command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli import commands
from services.console import replay as replaying
from services.console import replay_log
from services.console.acts import ACTED, SOURCE, Actor
from services.console.replay import Plan, parsed_tags
from services.console.replays import Replays
from services.console.search import Wanted
from shared.conformance.samples import NOON
from shared.embedded import open_embedded
from shared.folds import inbox
from shared.model.entry import Entry, expired
from shared.model.errors import InvalidInput
from shared.model.event import MAX_EVENT_BYTES, Event
from shared.model.read_model import drive
from shared.model.replay import replayed
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from tests.eventually import answered
from tests.unit.test_console import append, console, published, sign_in, token_of
from tests.unit.test_lines import an_entry


def entry(position: int, type_: str = "order.created", audience: str = "user:alice", **attributes: Any) -> Entry:
    made = an_entry(id=f"e{position}", type=type_, audience=audience, **attributes)
    return replace(made, position=position, appended_at=NOON + timedelta(seconds=position))


async def planned(log: EventLog, wanted: Wanted, to: Sequence[str] = ()) -> Plan:
    plan = Plan(wanted, tuple(to))
    await replaying.count(log, plan, MAX_EVENT_BYTES)
    return plan


def as_entry(event: Event, position: int = 9) -> Entry:
    """As the persister appends it."""
    made = an_entry(id=event.id, type=event.type, audience=event.audience)
    return replace(made, position=position, event=event.public_json())


def test_a_replay_is_marked_and_is_no_part_of_what_was() -> None:
    original = entry(7, subject="job/1", final="true", time="2026-01-01T00:00:00Z", data={"n": 1}, more="kept")
    event = replayed(original, "ab12", ["user:bob"])
    attributes = json.loads(event.to_json())
    assert attributes["replayof"] == "e7"
    assert attributes["replayrun"] == "ab12"
    assert attributes["replaysubject"] == "job/1"
    assert (attributes["audience"], attributes["data"], attributes["more"]) == ("user:bob", {"n": 1}, "kept")
    assert attributes["time"] == "2026-01-01T00:00:00Z", "it happened when it happened"
    assert not attributes.keys() & {"subject", "final", "traceparent", "expectedversion"}
    assert replayed(original, "ab12", ["user:bob"]) == event, "twice is once"
    assert replayed(original, "cd34", ["user:bob"]).id != event.id


def test_a_replayed_notification_is_no_new_item_of_an_inbox() -> None:
    note = entry(7, type_="notification.sent", data={"title": "Hello"})
    again = as_entry(replayed(note, "ab12", note.audience))
    for told, items in ((note, 1), (again, 0)):
        changes = drive(inbox.fold([told]), lambda _: {})
        assert len(changes[inbox.ITEMS]) == items


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [1, 2, 3, 4]),
        (Wanted(type="order.p*"), [2]),
        (Wanted(tag="user:bob"), [3]),
        (Wanted(subject="job/*"), [4]),
        (Wanted(find="e3"), [3]),
        (Wanted(since=str(NOON + timedelta(seconds=2)), until=str(NOON + timedelta(seconds=3))), [2, 3]),
        (Wanted(type="nothing"), []),
    ],
)
async def test_what_is_chosen(wanted: Wanted, expected: list[int]) -> None:
    made = [entry(1), entry(2, "order.paid"), entry(3, audience="user:bob topic:x"), entry(4, subject="job/1")]
    async with open_embedded(None) as (_, log, *_):
        await append_as_they_are(log, made)
        assert (await planned(log, wanted)).positions == expected


async def append_as_they_are(log: EventLog, entries: Sequence[Entry]) -> None:
    await append(log, [replace(each, version=1 if each.subject else None) for each in entries])


async def test_what_is_not_replayed_is_counted_by_why() -> None:
    made = [
        entry(1),
        entry(2, "carillon.operator.acted", audience=""),
        entry(3, audience=""),
        replace(as_entry(replayed(entry(1), "ab12", ["user:alice"])), position=4),
        expired(entry(5)),
        entry(6, data="x" * (MAX_EVENT_BYTES - 100)),
    ]
    async with open_embedded(None) as (_, log, *_):
        await append_as_they_are(log, made)
        plan = await planned(log, Wanted())
        assert plan.positions == [1]
        assert plan.left_out == {
            "Carillon's own": 1,
            "for nobody": 1,
            "replays themselves": 1,
            "content removed by retention": 1,
            "too large with their marks": 1,
        }
        plan = await planned(log, Wanted(), ["user:bob", "user:alice"])
        assert plan.positions == [1, 3]
        assert plan.tags == {"user:bob": 2, "user:alice": 2}
        assert plan.others == 1


async def test_too_many_are_counted_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "MAX_REPLAYED", 3)
    async with open_embedded(None) as (broker, log, *_):
        await append_as_they_are(log, [entry(at) for at in range(1, 6)])
        plan = await planned(log, Wanted())
        assert plan.is_cut
        with pytest.raises(InvalidInput, match="narrow it"):
            await replaying.announce(broker, Actor("ops"), plan)
        assert (await broker.waiting()).intake == 0


async def test_a_run_that_was_cut_short_goes_on_and_repeats_no_event() -> None:
    async with open_embedded(None) as (broker, log, *_):
        await append_as_they_are(log, [entry(at) for at in range(1, 121)])
        plan, seen = await planned(log, Wanted()), list[int]()
        await replaying.publish(log, broker, plan, seen.append, 100)
        await replaying.publish(log, broker, plan, seen.append)
        assert seen == [120, 50, 100, 120]
        async with broker.intake(1000) as intake:
            arrivals = [arrival for _ in range(2) for arrival in await intake.batch(70, 5)]
        ids = [json.loads(arrival.body)["id"] for arrival in arrivals]
    assert len(ids) == 140
    assert sorted(set(ids)) == sorted(f"replay-{plan.run}-{at}" for at in range(1, 121))


@pytest.mark.parametrize("text", ["control:alice", "inbox:alice", "alice", "user:" + "x" * 300, "user:\x00"])
def test_tags_that_nobody_may_name(text: str) -> None:
    with pytest.raises(InvalidInput):
        parsed_tags(text)


async def finished(page: str, client: Any, words: str) -> str:
    """The page of a replay, once it says so."""

    async def look() -> str:
        found = str(await (await client.get(page, scheme="https")).get_data(as_text=True))
        assert words in found
        return found

    return await answered(look, AssertionError)


async def test_the_pages_count_first_then_publish_and_tell() -> None:
    async with console() as (client, backends):
        await append_as_they_are(backends.event_log, [entry(1), entry(2, audience="topic:<b>"), entry(3, "other")])
        await sign_in(client, "key-of-ops")
        token = await token_of(client, "/console/replay?type=order.*")
        form = {"token": token, "type": "order.*", "to": ""}
        answer = await client.post("/console/replay/plan", form=form, scheme="https")
        assert answer.status_code == 303
        page = await finished(answer.location, client, "Replay 2 events?")
        assert "topic:&lt;b&gt;" in page
        assert (await backends.broker.waiting()).intake == 0, "counting publishes nothing"
        begun = await client.post(f"{answer.location}/run", form={"token": token}, scheme="https")
        assert begun.status_code == 303
        await finished(answer.location, client, "Replayed 2")
        assert (await client.post(f"{answer.location}/run", form={"token": token}, scheme="https")).status_code == 400
        assert (await client.post(f"{answer.location}/stop", form={"token": token}, scheme="https")).status_code == 400
        told, *events, ended = await published(backends)
    assert told["data"]["action"] == "replay"
    assert told["data"]["about"]["count"] == 2
    assert [event["replayof"] for event in events] == ["e1", "e2"]
    assert ended["data"]["action"] == "replay.ended"
    assert ended["data"]["about"] == {"run": told["data"]["about"]["run"], "published": 2, "outcome": "done"}


def act(version: int, action: str, *, source: str = SOURCE, **about: object) -> Entry:
    """What an operator did, as the log keeps it."""
    data = {"by": "ops", "action": action, "about": about}
    made = an_entry(version, id=f"act{version}", source=source, type=ACTED, subject=replay_log.SUBJECT, data=data)
    return replace(made, audience=(), appended_at=NOON + timedelta(seconds=version))


@pytest.mark.parametrize(
    ("acts", "outcome", "published"),
    [
        ([act(1, "replay", run="a", count=3)], "begun", None),
        ([act(1, "replay", run="a", count=3), act(2, "replay.stop", run="a", published=1)], "stopped", 1),
        (
            [
                act(1, "replay", run="a", count=3),
                act(2, "replay.ended", run="a", published=2, outcome="failed", problem="broker unavailable"),
            ],
            "failed",
            2,
        ),
        (
            [
                act(1, "replay", run="a", count=3),
                act(2, "replay.stop", run="a", published=1),
                act(3, "replay", run="a", count=3),
                act(4, "replay.ended", run="a", published=3, outcome="done"),
            ],
            "done",
            3,
        ),
        ([act(1, "replay", run="a", count=3), act(2, "replay.stop", run="a", source="/shop")], "begun", None),
        ([act(1, "replay", run="a", count=3), act(2, "replay.ended", run="b", outcome="done")], "begun", None),
        ([act(1, "replay", run="a", count="x", filter=7, to=7)], "begun", None),
        ([an_entry(id="x", subject=replay_log.SUBJECT, data=7), act(2, "replay", run="a", count=3)], "begun", None),
    ],
)
def test_what_the_log_tells_of_a_replay(acts: list[Entry], outcome: str, published: int | None) -> None:
    told = replay_log.folded(acts)
    assert list(told) == ["a"]
    assert (told["a"].outcome, told["a"].published, told["a"].by) == (outcome, published, "ops")


async def test_another_console_knows_it_from_the_log() -> None:
    async with console() as (client, backends):
        about = {"filter": {"type": "order.*"}, "to": ["user:<b>"], "count": 7}
        acts = [act(at, "replay", run=f"old{at}", **about) for at in range(1, replay_log.MAX_READ)]
        acts.append(act(replay_log.MAX_READ, "replay.ended", run="old98", published=7, outcome="done"))
        await append(backends.event_log, acts)
        await sign_in(client, "key-of-eve")
        listed = await (await client.get("/console/replay", scheme="https")).get_data(as_text=True)
        assert listed.index("/console/replay/old98") > listed.index("/console/replay/old99")
        assert "7 of 7" in listed
        page = await (await client.get("/console/replay/old98", scheme="https")).get_data(as_text=True)
        assert "Replayed 7" in page
        assert "user:&lt;b&gt;" in page
        assert "/console/replay?type=order.%2A&amp;to=user%3A%3Cb%3E" in page
        page = await (await client.get("/console/replay/old99", scheme="https")).get_data(as_text=True)
        assert "not told to have ended" in page


async def test_a_console_that_stops_tells_of_what_it_ran() -> None:
    async with open_embedded(None) as (broker, log, *_):
        await append_as_they_are(log, [entry(at) for at in range(1, 201)])
        replays = Replays(log, broker, MAX_EVENT_BYTES)
        chosen = replays.plan(Plan(Wanted()), Actor("ops"))
        assert chosen.task is not None
        await chosen.task
        await replays.run(chosen, Actor("ops"))
        await replays.close()
        bodies = [json.loads(arrival.body) async for arrival in everything(broker)]
    about = bodies[-1]["data"]["about"]
    assert about == {"run": chosen.plan.run, "published": chosen.done, "outcome": "stopped"}
    assert chosen.done < 200


async def test_one_is_stopped_and_goes_on() -> None:
    async with console() as (client, backends):
        await append_as_they_are(backends.event_log, [entry(at) for at in range(1, 301)])
        await sign_in(client, "key-of-ops")
        token = await token_of(client, "/console/replay")
        page = (await client.post("/console/replay/plan", form={"token": token}, scheme="https")).location
        await finished(page, client, "Replay 300 events?")
        await client.post(f"{page}/run", form={"token": token}, scheme="https")
        await client.post(f"{page}/stop", form={"token": token}, scheme="https")
        await finished(page, client, "Stopped")
        await client.post(f"{page}/run", form={"token": token}, scheme="https")
        await finished(page, client, "Replayed 300")
        bodies = [json.loads(arrival.body) async for arrival in everything(backends.broker)]
    assert [each["data"]["action"] for each in bodies if each["type"] == "carillon.operator.acted"] == [
        "replay", "replay.stop", "replay", "replay.ended",
    ]  # fmt: skip
    assert len({each["id"] for each in bodies if "replayof" in each}) == 300


async def everything(broker: Broker) -> Any:
    async with broker.intake(1000) as intake:
        waiting = (await broker.waiting()).intake
        while waiting > 0:
            some = await intake.batch(1000, 0.1)
            waiting -= len(some)
            for arrival in some:
                yield arrival


@pytest.mark.parametrize(
    ("key", "path", "form", "status"),
    [
        ("key-of-eve", "plan", {}, 403),
        ("key-of-eve", "none/run", {}, 403),
        ("key-of-ops", "plan", {"token": "guessed"}, 403),
        ("key-of-ops", "plan", {"to": "control:alice"}, 400),
        ("key-of-ops", "plan", {"since": "yesterday"}, 400),
        ("key-of-ops", "none/run", {}, 404),
        ("key-of-ops", "none/stop", {}, 404),
    ],
)
async def test_bad_forms(key: str, path: str, form: dict[str, str], status: int) -> None:
    async with console() as (client, backends):
        await sign_in(client, key)
        token = await token_of(client, "/console/replay")
        answer = await client.post(f"/console/replay/{path}", form={"token": token} | form, scheme="https")
        assert answer.status_code == status
        assert (await backends.broker.waiting()).intake == 0
        assert (await client.get("/console/replay/%3Cscript%3E", scheme="https")).status_code == 404


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["replay", *arguments, "--data", str(folder)])


def test_the_command(tmp_path: Path) -> None:
    async def fill() -> None:
        async with open_embedded(tmp_path) as (_, log, *_):
            await append_as_they_are(log, [entry(1), entry(2), entry(3, "other")])

    async def arrived() -> list[dict[str, Any]]:
        async with open_embedded(tmp_path) as (broker, *_):
            return [json.loads(arrival.body) async for arrival in everything(broker)]

    asyncio.run(fill())
    dry = run(tmp_path, "--type", "order.*", "--dry-run")
    assert dry.stdout == "would publish 2\n"
    assert "2  to user:alice" in dry.stderr
    assert asyncio.run(arrived()) == []
    assert run(tmp_path, "--type", "nothing", "--yes").exit_code == 2
    assert run(tmp_path, "--to", "inbox:alice", "--dry-run").exit_code == 2
    done = run(tmp_path, "--type", "order.*", "--to", "user:bob", "--yes", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["published"] == 2
    told, *events, ended = asyncio.run(arrived())
    assert told["type"] == ended["type"] == "carillon.operator.acted"
    assert ended["data"]["about"]["outcome"] == "done"
    assert [(event["replayof"], event["audience"]) for event in events] == [("e1", "user:bob"), ("e2", "user:bob")]
