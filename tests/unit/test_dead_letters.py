"""Dead letters as operators handle them: chosen, looked at, requeued, edited, dropped; on the pages and by command."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result
from quart.typing import TestClientProtocol as Client

from services.cli import commands
from services.console import letters
from services.console.acts import Actor
from services.console.letters import Choice
from shared.embedded import open_embedded
from shared.model.errors import InvalidEvent
from shared.ports.broker import Broker, DeadLetter
from tests.unit.test_console import console, sign_in, token_of

EVENT = {"specversion": "1.0", "id": "order-7", "source": "/shop", "type": "order.created"}
BINARY = DeadLetter(bytes(range(256)), "invalid-event", "body: it is not JSON; send JSON", {"field": "body"})
TEXT = DeadLetter(json.dumps(EVENT).encode(), "version-conflict", "expectedversion: no <b>", {"id": "order-7"})
LETTERS = [BINARY, TEXT, DeadLetter("[1, \u00e4".encode(), "invalid-event", "body: it is not JSON")]


async def parked(broker: Broker) -> list[str]:
    for letter in LETTERS:
        await broker.park(letter)
    return [letter.id for letter in await broker.dead_letters(10)]


@asynccontextmanager
async def signed_in(key: str = "key-of-ops") -> AsyncIterator[tuple[Client, Broker, list[str], str]]:
    """(client, broker, the ids of the letters, the token of forms)"""
    async with console() as (client, backends):
        ids = await parked(backends.broker)
        await sign_in(client, key)
        yield client, backends.broker, ids, await token_of(client, "/console/dead")


async def shown(client: Client, path: str, **form: object) -> str:
    body = urlencode(form, doseq=True).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if form:
        answer = await client.post(path, data=body, headers=headers, scheme="https")
    else:
        answer = await client.get(path, scheme="https")
    return f"{answer.status_code} {answer.location or ''}\n{await answer.get_data(as_text=True)}"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), [0, 1, 2]),
        (Choice(reason="invalid-event"), [0, 2]),
        (Choice(find="order-7"), [1]),
        (Choice(find="ä"), [2]),
        (Choice(find="not JSON"), [0, 2]),
        (Choice("version-conflict", "ä"), []),
    ],
)
def test_a_choice(choice: Choice, expected: list[int]) -> None:
    assert [at for at, letter in enumerate(LETTERS) if choice.fits(letter)] == expected


@pytest.mark.parametrize("body", [b"\xff", b"a\0b", b"\x1b[31mred", "right to left\u202e".encode()])
def test_what_is_not_text_is_dumped(body: bytes) -> None:
    assert letters.text_of(body) is None
    assert letters.dump(body).startswith("000000  " + body[:16].hex(" "))


def test_a_dump_ends() -> None:
    dumped = letters.dump(BINARY.body * 1000).splitlines()
    assert len(dumped) == letters.DUMPED_BYTES // letters.DUMP_WIDTH
    assert dumped[4].endswith("40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO")


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"id": 7, "type": null}', b"\xff", b'"text"'])
def test_a_glimpse_of_anything(body: bytes) -> None:
    assert letters.glimpse(body) == {}


async def test_the_list_says_why_and_markup_is_text() -> None:
    async with signed_in() as (client, _, ids, _token):
        page = await shown(client, "/console/dead")
        assert page.count('name="id"') == len(ids)
        assert "no &lt;b&gt;" in page
        assert "<script>" not in await shown(client, "/console/dead?find=%3Cscript%3E")
        assert "it is not text" in (await shown(client, f"/console/dead/{ids[0]}")).lower()
        raw = await client.get(f"/console/dead/{ids[0]}/body", scheme="https")
        assert await raw.get_data() == BINARY.body
        assert raw.headers["Content-Disposition"].startswith("attachment")
        assert (await shown(client, "/console/dead/none")).startswith("404")


async def test_some_are_planned_and_then_exactly_those_are_requeued() -> None:
    async with signed_in() as (client, broker, ids, token):
        plan = await shown(client, "/console/dead/plan", token=token, act="requeue", id=ids[:2])
        assert "Requeue 2 dead letters?" in plan
        assert len(await broker.dead_letters(10)) == 3, "a plan changes nothing"
        planned = re.findall(r'name="ids" value="([^"]+)"', plan)[0]
        # What comes between is not what was looked at.
        await broker.park(TEXT)
        done = await shown(client, "/console/dead/act", token=token, act="requeue", ids=planned)
        assert done.startswith("303 /console/dead?did=requeue&done=2&gone=0")
        assert "2 requeued" in await shown(client, "/console/dead?did=requeue&done=2&gone=0")
        assert "0 dropped" in await shown(client, "/console/dead?did=drop&done=%3Cb%3E&gone=x")
        assert [letter.body for letter in await broker.dead_letters(10)] == [LETTERS[2].body, TEXT.body]
        async with broker.intake(10) as intake:
            arrivals = [arrival.body for arrival in await intake.batch(3, 5)]
    told = json.loads(arrivals[0])
    assert told["type"] == "carillon.operator.acted"
    assert told["data"] == {
        "by": "ops",
        "action": "dead-letters.requeue",
        "about": {"count": 2, "ids": sorted(ids[:2]), "edited": []},
    }
    assert arrivals[1:] == [BINARY.body, TEXT.body]


async def test_all_that_fit_are_dropped_and_settled_ones_are_told() -> None:
    async with signed_in() as (client, broker, ids, token):
        plan = await shown(client, "/console/dead/plan", token=token, act="drop", all="1", reason="invalid-event")
        assert "Drop 2 dead letters?" in plan
        await broker.drop_dead([ids[0]])
        planned = re.findall(r'name="ids" value="([^"]+)"', plan)[0]
        assert "done=1&gone=1" in await shown(client, "/console/dead/act", token=token, act="drop", ids=planned)
        assert [letter.id for letter in await broker.dead_letters(10)] == [ids[1]]


async def test_it_is_said_how_many_are_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "LOOKED_AT", 2)
    async with signed_in() as (client, broker, ids, token):
        assert "Of 3 dead letters the oldest 2 are looked at" in await shown(client, "/console/dead")
        assert "404" in await shown(client, f"/console/dead/{ids[2]}")
        await shown(client, "/console/dead/act", token=token, act="drop", ids=ids[0])
        assert "The oldest 2 are looked at" in await shown(client, "/console/dead")
        await letters.drop(broker, Actor("ops"), ids[1:2])
        left = await shown(client, f"/console/dead/{ids[2]}")
        assert left.startswith("200"), "what was out of sight can be seen"
        assert "looked at" not in await shown(client, "/console/dead")


async def test_one_is_edited_until_it_is_an_event() -> None:
    async with signed_in() as (client, broker, ids, token):
        path = f"/console/dead/{ids[2]}/edit"
        refused = await shown(client, path, token=token, body='{"specversion": "1.0"}')
        assert refused.startswith("400")
        assert "Not requeued: id: it is missing" in refused
        assert len(await broker.dead_letters(10)) == 3
        assert "done=1" in await shown(
            client, path, token=token, body=json.dumps(EVENT, indent=1).replace("\n", "\r\n")
        )
        async with broker.intake(10) as intake:
            told, event = [json.loads(arrival.body) for arrival in await intake.batch(2, 5)]
    assert event == EVENT
    assert told["data"]["about"]["edited"] == [ids[2]]


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("plan", {"act": "requeue"}, 400),
        ("plan", {"act": "burn", "all": "1"}, 400),
        ("plan", {"act": "drop", "all": "1", "find": "x" * 301}, 400),
        ("act", {"act": "", "ids": "1"}, 400),
        ("none/edit", {"body": "{}"}, 404),
        ("act", {"act": "drop", "ids": "1", "token": "guessed"}, 403),
    ],
)
async def test_bad_forms(path: str, form: dict[str, str], status: int) -> None:
    async with signed_in() as (client, broker, _, token):
        page = await shown(client, f"/console/dead/{path}", **({"token": token} | form))
        assert page.startswith(str(status)), page
        assert len(await broker.dead_letters(10)) == 3


async def test_who_may_only_look_settles_nothing() -> None:
    async with signed_in("key-of-eve") as (client, broker, ids, token):
        page = await shown(client, "/console/dead")
        assert "Requeue" not in page
        for path in ("plan", "act", f"{ids[1]}/edit"):
            form = {"token": token, "act": "drop", "all": "1", "ids": ids[0], "body": json.dumps(EVENT)}
            assert (await shown(client, f"/console/dead/{path}", **form)).startswith("403")
        assert len(await broker.dead_letters(10)) == 3
        assert (await broker.waiting()).intake == 0


def test_the_edited_event_is_checked_as_the_persister_will() -> None:
    with pytest.raises(InvalidEvent, match="bytes"):
        letters.edited(json.dumps(EVENT | {"data": "x" * 100_000}), 65_536)


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["dead", *arguments, "--data", str(folder)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with open_embedded(tmp_path) as (broker, *_):
            await parked(broker)

    asyncio.run(fill())
    return tmp_path


def left(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in run(folder, "ls", "--json").stdout.splitlines()]


def test_the_command_lists_and_shows(folder: Path) -> None:
    assert run(folder, "ls", "--reason", "version-conflict").stdout.startswith("2  version-conflict  order.created")
    assert run(folder, "show", "1", "--raw").stdout_bytes == BINARY.body
    assert json.loads(run(folder, "show", "1", "--json").stdout)["hex"] == BINARY.body.hex()
    assert json.loads(run(folder, "show", "2", "--json").stdout)["body"] == TEXT.body.decode()
    assert run(folder, "show", "99").exit_code == 1


def test_a_letter_gives_the_terminal_no_orders(tmp_path: Path) -> None:
    """Whoever may publish to the broker writes them: one could once set the operator's clipboard, or hide others."""
    order = "\x1b]52;c;cm0gLXJmIH4=\x07"
    hostile = DeadLetter(json.dumps(EVENT | {"id": order}).encode(), "invalid-event", f"id: {order}", {"id": order})

    async def fill() -> None:
        async with open_embedded(tmp_path) as (broker, *_):
            await broker.park(hostile)

    asyncio.run(fill())
    for told in (run(tmp_path, "ls"), run(tmp_path, "show", "1"), run(tmp_path, "drop", "--all", "--dry-run")):
        assert "\\u001b]52" in told.output
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", told.output)
    assert json.loads(run(tmp_path, "ls", "--json").stdout)["event"]["id"] == order


def test_the_command_says_that_it_chose_from_the_oldest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "LOOKED_AT", 3)
    for arguments in (("ls",), ("drop", "--all", "--dry-run")):
        assert "chosen from the oldest 3" in run(folder, *arguments).stderr
    assert "chosen from" not in run(folder, "drop", "1", "--dry-run").stderr


def test_the_command_requeues_and_drops(folder: Path) -> None:
    assert run(folder, "drop").exit_code == 2
    assert run(folder, "drop", "--all", "--dry-run").stdout == "would drop 3\n"
    assert run(folder, "drop", "99", "--yes").exit_code == 1
    assert left(folder) == ["1", "2", "3"]
    assert run(folder, "drop", "--contains", "\u00e4", "--yes").stdout == "drop: 1 of 1\n"
    (folder / "no.json").write_text('{"id": 1}')
    assert run(folder, "requeue", "1", "--edited", str(folder / "no.json"), "--yes").exit_code == 2
    assert left(folder) == ["1", "2"]
    (folder / "event.json").write_text(json.dumps(EVENT))
    assert run(folder, "requeue", "1", "--edited", str(folder / "event.json"), "--yes").exit_code == 0
    assert run(folder, "requeue", "--all", "--yes").stdout == "requeue: 1 of 1\n"
    assert left(folder) == []

    async def arrived() -> list[bytes]:
        async with open_embedded(folder) as (broker, *_), broker.intake(10) as intake:
            return [arrival.body for arrival in await intake.batch(5, 5)]

    types = [json.loads(body)["type"] for body in asyncio.run(arrived())]
    acted = "carillon.operator.acted"
    assert types == [acted, acted, EVENT["type"], acted, EVENT["type"]]


def test_a_folder_that_is_in_use_is_left_to_its_console(folder: Path) -> None:
    async def meanwhile() -> Result:
        async with open_embedded(folder):
            return await asyncio.to_thread(run, folder, "ls")

    refused = asyncio.run(meanwhile())
    assert refused.exit_code == 2
    assert "in its console" in refused.output
